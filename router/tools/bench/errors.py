"""What keeps a measurement from being made."""


class BenchError(Exception):
    """In words for the person who measures."""
