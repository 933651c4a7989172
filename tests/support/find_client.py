"""A client of C-FIND that keeps every response, and can cancel, abort or stop reading at any moment."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from pdu import SOPClassExtendedNegotiation
from router.association import InMemory, Requestor
from router.association.invocation import Invocation
from router.association.proposal import contexts_of
from router.config import Timeouts
from router.dicom.dataset import DataSet
from router.dicom.information_models import STUDY_ROOT
from router.dimse import DATA_SET, Command, CommandField, Response
from router.services.query.identifier import decode_identifier, encode_identifier
from tests.support.requestor import remote_at

EXPLICIT = "1.2.840.10008.1.2.1"


@attrs.define
class Found:
    """The responses to one query."""

    matches: list[tuple[int, DataSet]]
    final: Response

    @property
    def statuses(self) -> set[int]:
        return {status for status, _ in self.matches}

    def values(self, tag: int) -> list[str]:
        """The values of an element, in the order in which the matches came."""
        return [one[tag].value.decode().strip(" \0") if tag in one else "" for _, one in self.matches]  # type: ignore[union-attr]


@attrs.define
class FindClient:
    """One association of a client."""

    association: Requestor
    sop_class: str
    syntax: str

    async def begin(self, keys: DataSet, **changes: Any) -> Invocation:
        """Send a query."""
        command = Command(
            field=CommandField.C_FIND_RQ, affected_sop_class_uid=self.sop_class, priority=0, data_set_type=DATA_SET
        )
        context = self.association.contexts[self.sop_class, self.syntax]
        data = InMemory(encode_identifier(keys, self.syntax))
        return await self.association.converse(context, attrs.evolve(command, **changes), data)

    async def find(self, keys: DataSet, **changes: Any) -> Found:
        """Send a query and read all of its responses."""
        return await self.read(await self.begin(keys, **changes))

    async def read(self, invocation: Invocation) -> Found:
        responses = [response async for response in invocation]
        matches = [(one.status, decode_identifier(one.data_set, self.syntax)) for one in responses[:-1]]
        return Found(matches, responses[-1])


@asynccontextmanager
async def find_client(
    port: int,
    sop_class: str = STUDY_ROOT.find,
    *,
    syntax: str = EXPLICIT,
    extended: bytes | None = None,
    calling_ae: str = "CLIENT",
    change: Callable[[Any], Any] = lambda remote: remote,
) -> AsyncIterator[FindClient]:
    """A client on an association with a router on this host."""
    remote = attrs.evolve(change(remote_at(port)), calling_ae=calling_ae)
    items = () if extended is None else (SOPClassExtendedNegotiation(sop_class_uid=sop_class, information=extended),)
    contexts = contexts_of([(sop_class, (syntax,))])
    with trio.fail_after(60):
        async with await Requestor.open(remote, contexts, Timeouts(), extended=items) as association:
            yield FindClient(association, sop_class, syntax)
