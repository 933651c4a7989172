"""A modality that asks for storage commitment and two archives around a router that crashes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import attrs
import trio

from pdu import Overtaken
from router.association import AssociationError
from router.association.transport import Transport, TransportError
from router.config import Config
from router.dimse import CommandField, MessageBegin, response_to
from router.services.commitment.attributes import CommitmentRequest, read_request
from router.services.commitment.transaction import COMMITTED, Reference
from tests.simulation.world import COUNTS, Unheard, World, close_door, open_door
from tests.support.commitment import store
from tests.support.commitment_peers import CommittingArchive, Heard, Modality, ask
from tests.support.harness import IMPLICIT, configuration, eventually


@attrs.define
class Keeper(CommittingArchive):
    """It owes each report until that is answered, and commits to what it has at that time."""

    world: World | None = None
    lost: set[str] = attrs.field(factory=set)
    granted: set[str] = attrs.field(factory=set)
    """Instances that it has ever promised,"""
    denied: set[str] = attrs.field(factory=set)
    """or has not."""
    lacked: set[str] = attrs.field(factory=set)
    """What it had never got when it was asked about it."""
    hang_ups: int = 0
    """Messages to come that it leaves unanswered."""

    @property
    def kept(self) -> set[str]:
        return {one.command.sop_instance_uid for one in self.stored} - self.lost

    async def _answer(self, transport: Transport, begin: MessageBegin, data: bytes) -> None:
        with suppress(Overtaken, TransportError):  # whoever asked may have gone
            await self._say(transport, begin, data)

    async def _say(self, transport: Transport, begin: MessageBegin, data: bytes) -> None:
        if self.hang_ups:
            self.hang_ups -= 1
            transport.close()
        elif begin.command.field == CommandField.N_ACTION_RQ:
            request = read_request(data, IMPLICIT)
            asked = {one.sop_instance_uid for one in request.references}
            self.lacked |= asked - self.kept - self.lost
            assert self.nursery is not None
            self.nursery.start_soon(self._owe, request)
            await self._respond(transport, begin.context_id, response_to(begin.command, 0))
        else:
            await super()._answer(transport, begin, data)

    async def _owe(self, request: CommitmentRequest) -> None:
        assert self.world is not None
        asked = {one.sop_instance_uid for one in request.references}
        misses = frozenset(asked - self.kept)
        self.granted |= asked - misses
        self.denied |= misses
        while True:
            self.router = await self.world.port()
            self.misses = misses  # `report` reads it before it waits; another request may be under way
            try:
                if await self.report(request) == 0:
                    return
            except (AssociationError, KeyError):  # no association, or no context: the router is going
                pass
            await trio.sleep(0.02)


@attrs.define
class LosesResponses(Modality):
    """A modality whose response to the next `hang_ups` reports is lost with the connection."""

    hang_ups: int = 0

    async def _answer(self, transport: Transport, begin: MessageBegin, data: bytes) -> None:
        if self.hang_ups:
            self.hang_ups -= 1
            transport = _DiscardingTransport(transport)  # type: ignore[assignment]
        with suppress(Overtaken, TransportError):
            await super()._answer(transport, begin, data)


class _DiscardingTransport:
    """A transport that closes the connection instead of sending."""

    def __init__(self, transport: Transport) -> None:
        self.upper_layer = transport.upper_layer
        self._transport = transport

    async def send(self, buffers: object) -> None:
        self._transport.close()


@attrs.define(slots=False)
class CommitmentsWorld(World):
    """Everything is stored at both archives, and both have to promise it."""

    stored: list[Reference] = attrs.field(factory=list)
    """What the modality was told is stored."""
    asked: dict[str, tuple[Reference, ...]] = attrs.field(factory=dict)
    """By Transaction UID, what it was told is being seen to."""

    @asynccontextmanager
    async def peers(self) -> AsyncIterator[Config]:
        async with (
            trio.open_nursery() as nursery,
            Keeper(title="ONE", nursery=nursery, world=self).serving() as one,
            Keeper(title="TWO", nursery=nursery, world=self).serving() as two,
            LosesResponses().serving() as self.modality,
        ):
            self.archives = (one, two)
            text = f"""
[peers.modality]
ae_title = "MODALITY"
address = "127.0.0.1:{self.modality.port}"
linger = "50ms"
retry = {{ first = "20ms", max = "100ms" }}
[[routes]]
name = "images"
service = "storage"
to = ["one", "two"]
[[routes]]
name = "commitment"
service = "storage-commitment"
to = ["one", "two"]
grace = "0s"
deadline = "10m"
"""
            yield configuration(self.folder, text, one=one.port, two=two.port)
            nursery.cancel_scope.cancel()

    # What may happen

    async def store(self, references: tuple[Reference, ...], crash_at: str) -> None:
        await self.until_answered(partial(self._store, references), crash_at)
        COUNTS["objects"] += len(references)
        self.stored += references

    async def _store(self, references: tuple[Reference, ...]) -> bool:
        try:
            await store(await self.port(), *references)
        except (AssertionError, AttributeError) as error:  # it heard something else than an answer
            raise Unheard from error
        return True

    async def ask(self, uid: str, references: tuple[Reference, ...], crash_at: str) -> None:
        await self.until_answered(partial(self._ask, uid, references), crash_at)
        COUNTS["transactions"] += 1
        self.asked[uid] = references

    async def _ask(self, uid: str, references: tuple[Reference, ...]) -> bool:
        return await ask(await self.port(), references, uid=uid) == 0

    async def crash_soon(self, moment: str) -> None:
        """When somebody comes to that moment next."""
        self._crash_at = moment

    async def lose(self, number: int, reference: Reference) -> None:
        if reference.sop_instance_uid in self.archives[number].kept:
            self.archives[number].lost.add(reference.sop_instance_uid)

    async def hang_up(self, number: int) -> None:
        """On the next message: that archive, or, as number 2, the modality."""
        (*self.archives, self.modality)[number].hang_ups += 1

    async def close_door(self, number: int) -> None:
        close_door(self.archives[number])

    async def open_door(self, number: int) -> None:
        open_door(self.archives[number])

    async def come_to_rest(self) -> None:
        """All faults are over, and every transaction is told."""
        self._crash_at = ""
        for archive in self.archives:
            archive.hang_ups = 0
            open_door(archive)
        self.modality.hang_ups = 0

        async def all_told() -> bool:
            return {heard.transaction_uid for heard in self.modality.heard} >= self.asked.keys()

        await eventually(all_told)
        await super().come_to_rest()

    # What must be so

    async def judge(self) -> None:
        stored = {one.sop_instance_uid for one in self.stored}
        for archive in self.archives:
            assert stored <= archive.kept | archive.lost, "what was acknowledged never came"
            assert not archive.lacked & stored, "an archive was asked for what it had not been given"
        for uid, references in self.asked.items():
            reports = [heard for heard in self.modality.heard if heard.transaction_uid == uid]
            assert len({heard.data_set for heard in reports}) == 1, "two reports of one transaction differ"
            self._judge_report(reports[0], references)

    def _judge_report(self, report: Heard, references: tuple[Reference, ...]) -> None:
        assert report.words.keys() == {one.sop_instance_uid for one in references}
        for uid, word in report.words.items():
            if word.reason == COMMITTED:
                assert all(uid in archive.granted for archive in self.archives), "nobody has promised that"
            else:
                assert any(uid in archive.denied for archive in self.archives), "nobody has said that it failed"
        assert report.event_type == (2 if report.failures else 1)
