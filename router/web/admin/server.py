"""Listen for the admin API. An error of a request or a client ends its own connection only.

The sockets are bound once; `run` serves on copies of them, so that a server that has crashed is started again on the
same port, and connections are never refused meanwhile.
"""

import ssl
from contextlib import ExitStack
from functools import partial
from typing import Final, Self

import structlog
import trio
from attrs import evolve
from starlette.types import ASGIApp

from router.config import TLS, AdminSettings, Endpoint
from router.web.http import serve_request

_CONNECTIONS: Final = 64
"""Connections served at a time; more are closed at once."""
_BACKLOG: Final = 64

log = structlog.get_logger()


class AdminServer:
    """Bound sockets, served by `run`, until `close`."""

    def __init__(self, bound: Endpoint, sockets: list[trio.socket.SocketType], tls: ssl.SSLContext | None) -> None:
        self.bound: Final = bound
        self._failures = 0
        """Requests that the router failed to answer."""
        self._starts = 0
        self._sockets = sockets
        self._tls = tls
        self._open = 0

    @classmethod
    async def bind(cls, admin: AdminSettings) -> Self:
        """Bind the addresses of `admin.listen`.

        Raises:
            OSError: an address cannot be bound, or a file of `admin.tls` not be read; the message names it.
        """
        tls = _tls_context(admin.tls)
        listen = admin.listen
        try:
            listeners = await trio.open_tcp_listeners(listen.port, host=listen.host, backlog=_BACKLOG)
        except OSError as error:
            raise OSError(error.errno, f"the admin API cannot listen on {listen}: {error.strerror or error}") from error
        sockets = [listener.socket for listener in listeners]
        return cls(evolve(listen, port=sockets[0].getsockname()[1]), sockets, tls)

    def close(self) -> None:
        """Release the addresses."""
        for sock in self._sockets:
            sock.close()

    def statistics(self) -> dict[str, int]:
        """Return the numbers of the server for `status`."""
        return {"connections": self._open, "failures": self._failures, "restarts": max(0, self._starts - 1)}

    async def run(self, application: ASGIApp) -> None:
        """Serve until cancelled. It can be called again after it has raised."""
        self._starts += 1
        with ExitStack() as copies:
            listeners = [trio.SocketListener(copies.enter_context(sock.dup())) for sock in self._sockets]
            await trio.serve_listeners(partial(self._serve, application), listeners)

    async def _serve(self, application: ASGIApp, stream: trio.SocketStream) -> None:
        if self._open >= _CONNECTIONS:
            return  # trio closes it
        self._open += 1
        try:
            if self._tls is None:
                await serve_request(application, stream, "http")
            else:
                secured = trio.SSLStream(stream, self._tls, server_side=True, https_compatible=True)
                await serve_request(application, secured, "https")
        except Exception as error:
            self._failures += 1
            log.error("admin API failed", why=repr(error), exc_info=error)
        finally:
            self._open -= 1


def _tls_context(tls: TLS) -> ssl.SSLContext | None:
    """Return the context for `admin.tls`; None without a certificate."""
    if tls.certificate is None:
        return None
    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tls.ca)
        context.load_cert_chain(tls.certificate, tls.key)
    except OSError as error:
        raise OSError(error.errno, f"admin.tls cannot be used: {error.strerror or error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.VerifyMode[
        {"off": "CERT_NONE", "optional": "CERT_OPTIONAL"}.get(tls.client, "CERT_REQUIRED")
    ]
    return context
