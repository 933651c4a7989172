"""The SQLite index of the spool: where each message lies and how each delivery stands."""
