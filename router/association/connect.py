"""Open the TCP connection to a remote AE."""

import os

import trio

from router.association.errors import NotConnected
from router.association.remote_ae import RemoteAE


async def connect(remote: RemoteAE, patience: float) -> trio.socket.SocketType:
    """Connect within `patience` seconds, the look-up of a host name included.

    Raises:
        NotConnected: no such host, no answer, or a refusal.
    """
    try:
        with trio.fail_after(patience):
            stream = await trio.open_tcp_stream(remote.host, remote.port)
    except trio.TooSlowError as error:
        raise NotConnected(f"no connection to {remote.host}:{remote.port} within {patience:g} s") from error
    except OSError as error:
        raise NotConnected(f"no connection to {remote.host}:{remote.port}: {_cause(error)}") from error
    except UnicodeError as error:
        raise NotConnected(f"no connection: {remote.host!r} cannot be a host name: {error}") from error
    return stream.socket


def _cause(error: OSError) -> str:
    """Return the kernel's text. trio hides it behind its own, once for each address of a host name."""
    cause = error.__cause__
    each = cause.exceptions if isinstance(cause, BaseExceptionGroup) else [cause]
    texts = dict.fromkeys(os.strerror(one.errno) for one in each if isinstance(one, OSError) and one.errno)
    return ", ".join(texts) or error.strerror or str(error)
