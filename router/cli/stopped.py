"""The files of a stopped router as a `Source`: the admin API's resources, read without a router."""

import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import Any, BinaryIO
from urllib.parse import unquote

import trio

from router.cli.errors import CommandError
from router.config import Config
from router.spool import Spool, SpoolError
from router.web.admin.backend import StoppedBackend
from router.web.admin.export import CHUNK, head_of
from router.web.admin.requests import BadRequest, NotFound, Query
from router.web.admin.resources import find_resource


class StoppedRouter:
    """The spool and the state that a router has left."""

    def __init__(self, config: Config) -> None:
        self._config = config
        folder = config.router.spool
        if not folder.exists():
            raise CommandError(f"there is no spool at {folder}: no router has run with this configuration")
        try:
            self._backend = StoppedBackend(config)
        except SpoolError as error:
            raise CommandError(str(error)) from None

    def get(self, path: str, query: Sequence[tuple[str, str]] = ()) -> Any:
        resource, item = find_resource(path)
        try:
            return trio.run(partial(resource.read, self._backend, Query(item=unquote(item), parameters=query)))
        except (NotFound, BadRequest, SpoolError) as error:
            raise CommandError(str(error)) from None
        except sqlite3.Error as error:
            raise CommandError(f"cannot read the state of the router: {error}") from None

    def export(self, message_id: int, out: BinaryIO) -> None:
        """Open the spool as a router does, with lock and recovery: only then are its bytes checked."""
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
