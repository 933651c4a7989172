"""Read a router for a command: the running one, over its admin API, or the files of a stopped one.

A source answers the GET requests of the admin API (`router.web.admin`), and both kinds answer with the same JSON.
"""

import json
from collections.abc import Sequence
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse, IncompleteRead
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol
from urllib.parse import urlencode

import click

from router.cli.admin_client import AdminClient, NotRunning
from router.cli.configuration import read_config, read_optional_config
from router.cli.errors import CommandError
from router.config import Config, Endpoint

_PIECE: Final = 256 * 1024
"""Bytes of an export that are read at once."""


class InvalidRequest(CommandError):
    """The router was asked for what it does not know, or does not understand."""


class Source(Protocol):
    """A router that commands read. Every failure is a `CommandError`."""

    def get(self, path: str, query: Sequence[tuple[str, str]] = ()) -> Any:
        """Return the JSON that the admin API has under `path`."""
        ...

    def export(self, message_id: int, out: BinaryIO) -> None:
        """Write a message's object to `out`, as a PS3.10 file."""
        ...


def open_source(config_path: Path, admin: Endpoint | None) -> Source:
    """Return the running router, or the files of a stopped one unless `admin` names a running router."""
    config = _config(config_path, admin)
    try:
        router = RunningRouter(AdminClient(config, admin))
        router.get("/healthz", accepted=(200, 503))
    except NotRunning as error:
        if admin is not None:
            raise
        from router.cli.stopped import StoppedRouter  # reading files needs imports that asking a router does not

        click.echo(f"{error}: this is from its spool", err=True)
        return StoppedRouter(config)
    return router


def open_running(config_path: Path, admin: Endpoint | None) -> "RunningRouter":
    """Return the running router, for changes."""
    return RunningRouter(AdminClient(_config(config_path, admin), admin))


def _config(config_path: Path, admin: Endpoint | None) -> Config:
    return read_config(config_path) if admin is None else read_optional_config(config_path)


class RunningRouter:
    """A running router, over its admin API."""

    def __init__(self, client: AdminClient) -> None:
        self._client = client

    def get(self, path: str, query: Sequence[tuple[str, str]] = (), *, accepted: tuple[int, ...] = (200,)) -> Any:
        target = f"{path}?{urlencode(query)}" if query else path
        return self._json(self._client.ask("GET", target), accepted)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Send a change, and return the JSON of the response."""
        return self._json(self._client.ask("POST", path, json.dumps(body).encode()))

    def export(self, message_id: int, out: BinaryIO) -> None:
        response = self._client.ask("GET", f"/api/queue/{message_id}/export")
        if response.status != 200:
            self._json(response)
        try:
            while piece := response.read(_PIECE):
                out.write(piece)
        except (IncompleteRead, HTTPException, TimeoutError, ConnectionError) as error:
            raise CommandError("the export broke off before its end; the router's log says why") from error
        if response.length:
            raise CommandError("the export broke off before its end; the router's log says why")

    def _json(self, response: HTTPResponse, accepted: tuple[int, ...] = (200,)) -> Any:
        with response:
            try:
                answer = json.loads(response.read())
            except (ValueError, HTTPException, OSError) as error:
                raise CommandError(f"the server at {self._client.address} is not an admin API") from error
        if response.status not in accepted:
            message = answer.get("error", "") if isinstance(answer, dict) else ""
            failure = InvalidRequest if response.status == HTTPStatus.BAD_REQUEST else CommandError
            raise failure(message or f"the router answered with status {response.status}")
        return answer
