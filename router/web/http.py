"""Serve an ASGI application over HTTP/1.1 (RFC 9112): one request on each connection, then the connection closes.

There is no keep-alive, no pipelining, no HTTP/2, no websocket and no other upgrade: a request that asks for one is
answered as if it did not (RFC 9110 7.8). h11 parses; every wait has a deadline. Not here: listening (`admin.server`)
and access control (`admin.access`).
"""

from collections.abc import MutableMapping
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote

import h11
import trio
from starlette.responses import JSONResponse
from starlette.types import ASGIApp

_HEAD_LIMIT: Final = 16 << 10
"""Bytes of a request line and all its header fields."""
_RECEIVE: Final = 64 << 10
"""Bytes to read at once."""
_READ_DEADLINE: Final = 30.0
"""Seconds for the head of a request, and for each piece of its body."""
_WRITE_DEADLINE: Final = 60.0
"""Seconds for the client to accept one piece of the response."""
_LINGER: Final = 2.0
"""Seconds for the client to read the rest of the response and close.

A socket that is closed with unread bytes is reset, and the response is lost.
"""

_GONE: Final = (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError)

Message = MutableMapping[str, Any]


async def serve_request(application: ASGIApp, stream: trio.abc.Stream, scheme: str) -> None:
    """Answer one request and close the stream. An exception of the application is raised after the response."""
    exchange = _Exchange(stream)
    try:
        try:
            request = await exchange.request()
            if request is None:
                return
            await application(_scope(request, stream, scheme), exchange.receive, exchange.send)
        except h11.RemoteProtocolError as error:
            await exchange.refuse(error.error_status_hint, str(error))
        except _GONE:
            return
        except Exception:
            await exchange.refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "the router failed to answer; its log says more")
            await exchange.linger()
            raise
        await exchange.linger()
    finally:
        with trio.move_on_after(_LINGER):
            await stream.aclose()


class _Exchange:
    """One request and its response."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_LIMIT)
        self._is_head = False
        self._is_read = False
        """Whether the request's body was read to its end."""
        self._is_gone = False

    async def request(self) -> h11.Request | None:
        """Return the request without its body; None if the client closes without one.

        Raises:
            RemoteProtocolError: the request is not HTTP/1.1.
        """
        event = await self._next_event()
        if not isinstance(event, h11.Request):
            return None
        if event.http_version not in (b"1.0", b"1.1"):
            raise h11.RemoteProtocolError("only HTTP/1.1 is supported", HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
        self._is_head = event.method == b"HEAD"
        return event

    async def receive(self) -> Message:
        """Return the next piece of the body; after the last, wait until the client disconnects (ASGI)."""
        if not self._is_read:
            try:
                if self._connection.they_are_waiting_for_100_continue:
                    await self._write(h11.InformationalResponse(status_code=100, headers=[]))
                event = await self._next_event()
            except (*_GONE, h11.RemoteProtocolError):
                return {"type": "http.disconnect"}
            self._is_read = not isinstance(event, h11.Data)
            if isinstance(event, h11.Data):
                return {"type": "http.request", "body": bytes(event.data), "more_body": True}
            if isinstance(event, h11.EndOfMessage):
                return {"type": "http.request", "body": b"", "more_body": False}
        await self._wait_for_disconnect()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Send a piece of the response (ASGI); drop it if the client has disconnected."""
        match message:
            case {"type": "http.response.start", "status": status, "headers": headers}:
                own = [(b"date", formatdate(usegmt=True).encode()), (b"connection", b"close")]
                await self._try_to_write(h11.Response(status_code=status, headers=[*headers, *own]))
            case {"type": "http.response.body"}:
                if message.get("body") and not self._is_head:
                    await self._try_to_write(h11.Data(data=message["body"]))
                if not message.get("more_body"):
                    await self._try_to_write(h11.EndOfMessage())

    async def refuse(self, status: int, message: str) -> None:
        """Answer with an error, unless a response has begun."""
        if self._connection.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            answer = JSONResponse({"error": message}, status_code=status)
            await self.send({"type": "http.response.start", "status": status, "headers": answer.raw_headers})
            await self.send({"type": "http.response.body", "body": answer.body})

    async def linger(self) -> None:
        """Close our direction, and wait until the client closes its own."""
        if self._is_gone or not isinstance(self._stream, trio.SocketStream):
            return
        with trio.move_on_after(_LINGER):
            try:
                await self._stream.send_eof()
            except _GONE:
                return
            await self._wait_for_disconnect()

    async def _wait_for_disconnect(self) -> None:
        try:
            while await self._stream.receive_some(_RECEIVE):
                pass
        except _GONE:
            pass

    async def _next_event(self) -> Any:
        with trio.fail_after(_READ_DEADLINE):
            while (event := self._connection.next_event()) is h11.NEED_DATA:
                self._connection.receive_data(bytes(await self._stream.receive_some(_RECEIVE)))
        return event

    async def _try_to_write(self, event: Any) -> None:
        if self._is_gone:
            return
        try:
            await self._write(event)
        except _GONE:
            self._is_gone = True
            await trio.aclose_forcefully(self._stream)

    async def _write(self, event: Any) -> None:
        data = self._connection.send(event)
        if data:
            with trio.fail_after(_WRITE_DEADLINE):
                await self._stream.send_all(data)


def _scope(request: h11.Request, stream: trio.abc.Stream, scheme: str) -> dict[str, Any]:
    """Return the ASGI scope of the request."""
    path, _, query = request.target.partition(b"?")
    transport = stream if isinstance(stream, trio.SocketStream) else getattr(stream, "transport_stream", None)
    own = transport.socket.getsockname() if isinstance(transport, trio.SocketStream) else None
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": request.http_version.decode(),
        "method": request.method.decode(),
        "scheme": scheme,
        "path": unquote(path.decode()),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": list(request.headers),
        "server": own[:2] if own else None,
    }
