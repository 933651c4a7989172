"""HTTP: the server and what it serves."""
