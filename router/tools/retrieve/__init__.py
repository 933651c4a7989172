"""Retrieve from a peer without a running router: by C-GET into a folder, or by a C-MOVE to another peer."""
