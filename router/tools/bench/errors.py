"""The error that ends a measurement."""


class BenchError(Exception):
    """The measurement cannot be made; the message says why, in words for the operator."""
