"""Programs that use the router's parts from outside: send, bench, demo."""
