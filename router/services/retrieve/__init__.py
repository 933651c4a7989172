"""Retrieve (PS3.4 C.4.2 and C.4.3): C-MOVE and C-GET, from any number of archives."""
