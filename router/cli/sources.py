"""Where the commands that look at a router get what they show: from the running router, by its admin API, or from
the spool of one that does not run. Both give the same JSON objects.
"""

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from http.client import HTTPException, HTTPResponse, IncompleteRead
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import quote, urlencode

import click
import trio

from router.cli.admin_client import AdminClient, NotRunning
from router.cli.configuration import read, read_if_there
from router.cli.failing import CommandError
from router.config import Config, Endpoint
from router.model import Purpose
from router.services.mpps.options import MPPSSettings
from router.spool import Spool, SpoolError, UnknownMessage, read_only
from router.web.admin import queue_views as shapes
from router.web.admin import requests as selecting
from router.web.admin.commitment import NoSuchCommitment, StoppedCommitments
from router.web.admin.export import CHUNK, head_of
from router.web.admin.mpps import NoSuchStep, StoppedSteps

Query = Sequence[tuple[str, str]]


class Source(Protocol):
    """What there is to look at."""

    def status(self) -> Any: ...
    def page(self, query: Query) -> Any: ...
    def message(self, message_id: int, query: Query) -> Any: ...
    def steps(self, query: Mapping[str, str]) -> Any: ...
    def step(self, uid: str, query: Mapping[str, str]) -> Any: ...
    def commitments(self, query: Mapping[str, str]) -> Any: ...
    def commitment(self, uid: str) -> Any: ...
    def commitment_report(self, query: Mapping[str, str]) -> Any: ...
    def export(self, message_id: int, out: BinaryIO) -> None: ...


def running(config_path: Path, admin: Endpoint | None) -> "Running":
    """The running router, for what nobody else can do."""
    return _running(_config(config_path, admin), admin)


def reading(config_path: Path, admin: Endpoint | None) -> Source:
    """The running router, or the spool that it left."""
    config = _config(config_path, admin)
    try:
        router = _running(config, admin)
        router.get("/healthz", fine=(200, 503))
    except NotRunning as error:
        if admin is not None:
            raise
        click.echo(f"{error}: this is from its spool", err=True)
        return Stopped(config)
    return router


def _config(config_path: Path, admin: Endpoint | None) -> Config:
    return read(config_path) if admin is None else read_if_there(config_path)


def _running(config: Config, admin: Endpoint | None) -> "Running":
    return Running(AdminClient(config, admin))


class Running:
    """A running router, by its admin API. Every failure is a `CommandError` in words."""

    def __init__(self, client: AdminClient) -> None:
        self._client = client

    def status(self) -> Any:
        return self.get("/api/status")

    def page(self, query: Query) -> Any:
        return self.get(f"/api/queue?{urlencode(query)}")

    def message(self, message_id: int, query: Query) -> Any:
        return self.get(f"/api/queue/{message_id}?{urlencode(query)}")

    def steps(self, query: Mapping[str, str]) -> Any:
        return self.get(f"/api/steps?{urlencode(query)}")

    def step(self, uid: str, query: Mapping[str, str]) -> Any:
        return self.get(f"/api/steps/{quote(uid, safe='')}?{urlencode(query)}")

    def commitments(self, query: Mapping[str, str]) -> Any:
        return self.get(f"/api/commitments?{urlencode(query)}")

    def commitment(self, uid: str) -> Any:
        return self.get(f"/api/commitments/{quote(uid, safe='')}")

    def commitment_report(self, query: Mapping[str, str]) -> Any:
        return self.get(f"/api/commitments/report?{urlencode(query)}")

    def change(self, action: str, selection: dict[str, Any]) -> Any:
        """How many deliveries were changed: {"changed": 1}."""
        body = json.dumps(selection).encode()
        return self._json(self._client.ask("POST", f"/api/queue/{quote(action)}", body), (200,))

    def discard_steps(self, uids: Sequence[str], reason: str) -> Any:
        """Which were discarded, and why the others were not: {"discarded": [...], "refused": {UID: words}}."""
        body = json.dumps({"uids": list(uids), "reason": reason}).encode()
        return self._json(self._client.ask("POST", "/api/steps/discard", body), (200,))

    def export(self, message_id: int, out: BinaryIO) -> None:
        response = self._client.ask("GET", f"/api/queue/{message_id}/export")
        if response.status != 200:
            self._json(response, (200,))
        try:
            while piece := response.read(CHUNK):
                out.write(piece)
        except (IncompleteRead, HTTPException, TimeoutError, ConnectionError) as error:
            raise CommandError("the export broke off before its end; the router's log says why") from error
        if response.length:
            raise CommandError("the export broke off before its end; the router's log says why")

    def get(self, path: str, *, fine: tuple[int, ...] = (200,)) -> Any:
        return self._json(self._client.ask("GET", path), fine)

    def _json(self, response: HTTPResponse, fine: tuple[int, ...]) -> Any:
        with response:
            try:
                answer = json.loads(response.read())
            except (ValueError, HTTPException, OSError) as error:
                raise CommandError(f"what answers at {self._client.address} is not an admin API") from error
        if response.status not in fine:
            words = answer.get("error", "") if isinstance(answer, dict) else ""
            raise CommandError(words or f"the router answered {response.status}")
        return answer


class Stopped:
    """The spool of a router that does not run."""

    def __init__(self, config: Config) -> None:
        self._config = config
        folder = config.router.spool
        if not folder.exists():
            raise CommandError(f"there is no spool at {folder}: no router has run with this configuration")
        try:
            self._spool = read_only(folder)
        except SpoolError as error:
            raise CommandError(str(error)) from None

    def status(self) -> Any:
        totals = {
            shapes.shown_name(name, purpose): numbers
            for purpose in Purpose
            for name, numbers in self._spool.totals(purpose).items()
        }
        return {
            "running": False,
            "ae_title": self._config.router.ae_title,
            "steps": self._step_counts(),
            "destinations": {
                name: {
                    "waiting": numbers.waiting,
                    "in_flight": 0,
                    "delivered": numbers.delivered,
                    "held": numbers.held,
                    "discarded": numbers.discarded,
                }
                for name, numbers in sorted(totals.items())
            },
        }

    def _step_counts(self) -> dict[str, int]:
        """The counts of steps; none where their state cannot be read, for the queue can be looked at all the same."""
        with suppress(sqlite3.Error):
            return StoppedSteps(self._config.router.spool, self._spool).statistics(
                self._config.options[MPPSSettings].keep
            )
        return {}

    def page(self, query: Query) -> Any:
        asked = dict(query)
        states = [value for key, value in query if key == "state"]
        limit = selecting.number(asked, "limit", selecting.LIMIT, 1, selecting.LIMIT_MAX)
        after = selecting.number(asked, "after", 0, 0, selecting.ID_MAX)
        rows = self._spool.queue(selecting.asked(asked, states), after, limit)
        return shapes.page(rows, limit, phi=selecting.shows_phi(asked))

    def message(self, message_id: int, query: Query) -> Any:
        try:
            detail = self._spool.show(message_id)
        except UnknownMessage as error:
            raise CommandError(str(error)) from None
        lane = shapes.lane(detail)
        return shapes.message(detail, self._spool.queue(lane) if lane else (), phi=selecting.shows_phi(dict(query)))

    def steps(self, query: Mapping[str, str]) -> Any:
        return self._steps_of(lambda kept: kept.list(query))

    def step(self, uid: str, query: Mapping[str, str]) -> Any:
        return self._steps_of(lambda kept: kept.show(uid, query))

    def commitments(self, query: Mapping[str, str]) -> Any:
        return self._commitments_of(lambda kept: kept.list(query))

    def commitment(self, uid: str) -> Any:
        return self._commitments_of(lambda kept: kept.show(uid))

    def commitment_report(self, query: Mapping[str, str]) -> Any:
        return self._commitments_of(lambda kept: kept.report(query))

    def _commitments_of(self, look: Callable[[StoppedCommitments], Any]) -> Any:
        try:
            return look(StoppedCommitments(self._config.router.spool, self._spool))
        except (NoSuchCommitment, selecting.BadRequest) as error:
            raise CommandError(str(error)) from None
        except sqlite3.Error as error:
            raise CommandError(f"the state of the router cannot be read: {error}") from None

    def _steps_of(self, look: Callable[[StoppedSteps], Any]) -> Any:
        try:
            return look(StoppedSteps(self._config.router.spool, self._spool))
        except NoSuchStep as error:
            raise CommandError(str(error)) from None
        except sqlite3.Error as error:
            raise CommandError(f"the state of the router cannot be read: {error}") from None

    def export(self, message_id: int, out: BinaryIO) -> None:
        """Opens the spool as a router would, lock and recovery included: its bytes are only to be had checked."""
        try:
            spool = Spool.open(self._config.router.spool, self._config.spool)
        except SpoolError as error:
            raise CommandError(str(error)) from None
        try:
            trio.run(_export, spool, message_id, out)
        except* SpoolError as group:
            raise CommandError("; ".join(map(str, group.exceptions))) from None
        finally:
            spool.close()


async def _export(spool: Spool, message_id: int, out: BinaryIO) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(spool.run)
        with await spool.open_message(message_id) as message:
            out.write(head_of(message.envelope))
            buffer, offset = memoryview(bytearray(CHUNK)), 0
            while size := await message.read_into(buffer, offset):
                out.write(buffer[:size])
                offset += size
        nursery.cancel_scope.cancel()
