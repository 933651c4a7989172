"""The endpoints of the admin API: parse the request, ask the router, answer in JSON."""

import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from http import HTTPStatus
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from router.services.retrieve.operator_fetch import TooManyFetches
from router.spool import DamagedMessage, OutOfSpace, QueueAction, SpoolClosed, SpoolFailure, UnknownMessage
from router.web.admin import mpps, retrieve
from router.web.admin.backend import Resource, RunningBackend
from router.web.admin.export import Export
from router.web.admin.requests import (
    ID_MAX,
    BadRequest,
    NotFound,
    Query,
    new_destination_of,
    not_a_destination,
    selection_of,
)
from router.web.admin.resources import RESOURCES

BODY_CAP: Final = 256 * 1024
"""Bytes of the largest selection."""

Endpoint = Callable[[Request], Awaitable[Response]]


def application(backend: RunningBackend) -> Starlette:
    """Return the ASGI application of the API of a running router."""
    api = _API(backend)
    handlers = {
        HTTPException: _refuse,
        BadRequest: _answer_with(HTTPStatus.BAD_REQUEST),
        ClientDisconnect: _answer_with(HTTPStatus.BAD_REQUEST),
        UnknownMessage: _answer_with(HTTPStatus.NOT_FOUND),
        NotFound: _answer_with(HTTPStatus.NOT_FOUND),
        DamagedMessage: _answer_with(HTTPStatus.CONFLICT),
        OutOfSpace: _answer_with(HTTPStatus.INSUFFICIENT_STORAGE),
        SpoolClosed: _answer_with(HTTPStatus.SERVICE_UNAVAILABLE),
        SpoolFailure: _answer_with(HTTPStatus.SERVICE_UNAVAILABLE),
        TooManyFetches: _answer_with(HTTPStatus.SERVICE_UNAVAILABLE),
        Exception: _answer_failure,
    }
    return Starlette(
        routes=[
            Route("/healthz", api.health),
            *(Route(resource.path, _endpoint(resource, backend)) for resource in RESOURCES),
            Route("/api/queue/{id:int}/export", api.export),
            Route("/api/queue/{action}", api.change, methods=["POST"]),
            Route("/api/steps/discard", api.discard_steps, methods=["POST"]),
            Route("/api/retrieve", api.begin_fetch, methods=["POST"]),
            Route("/api/retrieve/cancel", api.cancel_fetch, methods=["POST"]),
        ],
        exception_handlers=handlers,
    )


def _endpoint(resource: Resource, backend: RunningBackend) -> Endpoint:
    async def answer(request: Request) -> Response:
        item = str(request.path_params.get("item", ""))
        query = Query(item=item, parameters=request.query_params.multi_items())
        return JSONResponse(await resource.read(backend, query))

    return answer


class _API:
    def __init__(self, backend: RunningBackend) -> None:
        self._backend = backend
        self._spool = backend.spool

    async def health(self, request: Request) -> Response:
        if self._spool.intake.accepting:
            return JSONResponse({"status": "ok"})
        return _error(HTTPStatus.SERVICE_UNAVAILABLE, "the spool accepts nothing: its disk is full")

    async def export(self, request: Request) -> Response:
        return await Export.begin(self._spool, min(int(request.path_params["id"]), ID_MAX))

    async def change(self, request: Request) -> Response:
        action = _action(request.path_params["action"])
        body = await _body(request)
        selection, to = selection_of(body), new_destination_of(body)
        if to is not None and to not in self._backend.destinations():
            raise not_a_destination(to)
        changed = await self._spool.queue.change(selection, action, to)
        if changed:
            self._backend.rescan()
        return JSONResponse({"changed": changed})

    async def discard_steps(self, request: Request) -> Response:
        return JSONResponse(await mpps.discard(self._backend, await _body(request)))

    async def begin_fetch(self, request: Request) -> Response:
        return JSONResponse(await retrieve.begin(self._backend, await _body(request)))

    async def cancel_fetch(self, request: Request) -> Response:
        return JSONResponse(retrieve.cancel(self._backend, await _body(request)))


def _action(name: str) -> QueueAction:
    try:
        return QueueAction(name)
    except ValueError:
        raise HTTPException(HTTPStatus.NOT_FOUND) from None


async def _body(request: Request) -> Any:
    """Return the JSON of a request.

    The content type is demanded because a page of another origin cannot send it without asking first (CORS).
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "invalid content type: expected application/json")
    body = bytearray()
    async with aclosing(request.stream()) as pieces:
        async for piece in pieces:
            body += piece
            if len(body) > BODY_CAP:
                raise HTTPException(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"selection too large: at most {BODY_CAP} bytes"
                )
    try:
        value = json.loads(body)
        json.dumps(value, ensure_ascii=False).encode()  # refuses a lone surrogate, which is not text
    except (ValueError, RecursionError):
        raise BadRequest("the body is not JSON in UTF-8") from None
    return value


# Errors


def _error(status: int, message: str, headers: Any = None) -> Response:
    return JSONResponse({"error": message}, status_code=status, headers=headers)


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"there is no {request.url.path}" if error.status_code == HTTPStatus.NOT_FOUND else error.detail
    return _error(error.status_code, message, error.headers)


def _answer_with(status: HTTPStatus) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, error: Exception) -> Response:
        return _error(status, str(error))

    return answer


async def _answer_failure(request: Request, error: Exception) -> Response:
    return _error(HTTPStatus.INTERNAL_SERVER_ERROR, "the router failed to answer; its log says more")
