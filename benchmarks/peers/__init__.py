"""What stands beside the router in a measurement, each in a process of its own."""
