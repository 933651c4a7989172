"""The admin API's endpoints. Each judges what it was asked, asks the spool, and answers in JSON."""

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

from router.spool import DamagedMessage, OutOfSpace, QueueAction, SpoolClosed, SpoolFailure, UnknownMessage
from router.web.admin import queue_views as shapes
from router.web.admin.backend import Controls
from router.web.admin.commitment import Commitments, NoSuchCommitment
from router.web.admin.export import Export
from router.web.admin.mpps import NoSuchStep, Steps, to_be_discarded
from router.web.admin.requests import ID_MAX, LIMIT, LIMIT_MAX, BadRequest, asked, chosen, number, rerouted, shows_phi

BODY_CAP: Final = 256 * 1024
"""Bytes of the largest selection."""

Endpoint = Callable[[Request], Awaitable[Response]]


def application(controls: Controls) -> Starlette:
    """The API of the router that `controls` reach into."""
    api = _API(controls)
    answers = {
        HTTPException: _refuse,
        BadRequest: _words(HTTPStatus.BAD_REQUEST),
        ClientDisconnect: _words(HTTPStatus.BAD_REQUEST),
        UnknownMessage: _words(HTTPStatus.NOT_FOUND),
        NoSuchStep: _words(HTTPStatus.NOT_FOUND),
        NoSuchCommitment: _words(HTTPStatus.NOT_FOUND),
        DamagedMessage: _words(HTTPStatus.CONFLICT),
        OutOfSpace: _words(HTTPStatus.INSUFFICIENT_STORAGE),
        SpoolClosed: _words(HTTPStatus.SERVICE_UNAVAILABLE),
        SpoolFailure: _words(HTTPStatus.SERVICE_UNAVAILABLE),
        Exception: _crashed,
    }
    return Starlette(
        routes=[
            Route("/healthz", api.health),
            Route("/api/status", api.status),
            Route("/api/queue", api.queue),
            Route("/api/queue/{id:int}", api.show),
            Route("/api/queue/{id:int}/export", api.export),
            Route("/api/queue/{action}", api.change, methods=["POST"]),
            Route("/api/steps", api.steps),
            Route("/api/steps/discard", api.discard_steps, methods=["POST"]),
            Route("/api/steps/{uid}", api.step),
            Route("/api/commitments", api.commitments),
            Route("/api/commitments/report", api.commitment_report),
            Route("/api/commitments/{uid}", api.commitment),
        ],
        exception_handlers=answers,
    )


class _API:
    def __init__(self, controls: Controls) -> None:
        self._controls = controls
        self._spool = controls.spool
        self._steps = Steps(controls)
        self._commitments = Commitments(controls.state, controls.spool)

    async def health(self, request: Request) -> Response:
        if self._spool.accepting:
            return JSONResponse({"status": "ok"})
        return _error(HTTPStatus.SERVICE_UNAVAILABLE, "the spool accepts nothing: its disk is full")

    async def status(self, request: Request) -> Response:
        return JSONResponse(await self._controls.status())

    async def queue(self, request: Request) -> Response:
        query = request.query_params
        limit = number(query, "limit", LIMIT, 1, LIMIT_MAX)
        selection = asked(query, query.getlist("state"))
        rows = await self._spool.queue(selection, after=number(query, "after", 0, 0, ID_MAX), limit=limit)
        return JSONResponse(shapes.page(rows, limit, phi=shows_phi(query)))

    async def commitments(self, request: Request) -> Response:
        return JSONResponse(await self._commitments.list(request.query_params))

    async def commitment(self, request: Request) -> Response:
        return JSONResponse(await self._commitments.show(request.path_params["uid"]))

    async def commitment_report(self, request: Request) -> Response:
        return JSONResponse(await self._commitments.report(request.query_params))

    async def show(self, request: Request) -> Response:
        detail = await self._spool.show(_message_id(request))
        lane = shapes.lane(detail)
        together = await self._spool.queue(lane) if lane else ()
        return JSONResponse(shapes.message(detail, together, phi=shows_phi(request.query_params)))

    async def export(self, request: Request) -> Response:
        return await Export.begin(self._spool, _message_id(request))

    async def change(self, request: Request) -> Response:
        action = _action(request.path_params["action"])
        body = await _body(request)
        selection, to = chosen(body), rerouted(body)
        if to is not None:
            await self._judge_destination(to)
        changed = await self._spool.change(selection, action, to)
        if changed:
            self._controls.rescan()
        return JSONResponse({"changed": changed})

    async def steps(self, request: Request) -> Response:
        return JSONResponse(await self._steps.list(request.query_params))

    async def step(self, request: Request) -> Response:
        return JSONResponse(await self._steps.show(request.path_params["uid"], request.query_params))

    async def discard_steps(self, request: Request) -> Response:
        uids, reason = to_be_discarded(await _body(request))
        return JSONResponse(await self._steps.discard(uids, reason))

    async def _judge_destination(self, name: str) -> None:
        destinations = (await self._controls.status())["destinations"]
        if destinations.get(name, {}).get("actor_stage", "not configured") == "not configured":
            raise BadRequest(f"{name!r} is no peer that deliveries can go to")


def _message_id(request: Request) -> int:
    return min(int(request.path_params["id"]), ID_MAX)


def _action(name: str) -> QueueAction:
    try:
        return QueueAction(name)
    except ValueError:
        raise HTTPException(HTTPStatus.NOT_FOUND) from None


async def _body(request: Request) -> Any:
    """The JSON of a request. A page in somebody's browser cannot send this content type here unasked."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the selection must come as application/json")
    body = bytearray()
    async with aclosing(request.stream()) as pieces:
        async for piece in pieces:
            body += piece
            if len(body) > BODY_CAP:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a selection has at most {BODY_CAP} bytes")
    try:
        value = json.loads(body)
        json.dumps(value, ensure_ascii=False).encode()  # refuses a lone surrogate, which is no text
    except (ValueError, RecursionError):
        raise BadRequest("the body is not JSON in UTF-8") from None
    return value


# Errors


def _error(status: int, words: str, headers: Any = None) -> Response:
    return JSONResponse({"error": words}, status_code=status, headers=headers)


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = f"there is no {request.url.path}" if error.status_code == HTTPStatus.NOT_FOUND else error.detail
    return _error(error.status_code, words, error.headers)


def _words(status: HTTPStatus) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, error: Exception) -> Response:
        return _error(status, str(error))

    return answer


async def _crashed(request: Request, error: Exception) -> Response:
    return _error(HTTPStatus.INTERNAL_SERVER_ERROR, "the router failed to answer; its log says more")
