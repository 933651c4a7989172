"""What a start does: read the segments, rebuild the ledger where they differ, set damage aside."""
