"""Measurements side by side with other people's software: `make bench`, or `python -m benchmarks --help`."""
