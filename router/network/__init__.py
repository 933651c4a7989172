"""Sockets as the rest of the router sees them."""
