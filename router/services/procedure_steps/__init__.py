"""Procedure steps (PS3.4 Annex F): their data sets, their state machine, and the record that the router keeps."""
