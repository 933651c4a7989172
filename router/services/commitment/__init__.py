"""Storage commitment (PS3.4 Annex J): the merge, its data sets, its records, its actors."""
