"""Configuration texts that several tests use."""


def one_peer(port: int, keys: str = "") -> str:
    """A peer with `retry` at its defaults."""
    return f"""
    [peers.pacs]
    ae_title = "PACS"
    address = "127.0.0.1:{port}"
    {keys}
    [[routes]]
    name = "all"
    service = "storage"
    to = "pacs"
    """


EVERYTHING = """
[[routes]]
name = "everything"
service = "storage"
to = "pacs"
"""


def peer_with_window(port: int, window: int) -> str:
    return f"""
    [peers.pacs]
    ae_title = "PACS"
    address = "127.0.0.1:{port}"
    window = {window}
    linger = "1h"
    retry = {{ first = "20ms", max = "100ms" }}
    {EVERYTHING}"""
