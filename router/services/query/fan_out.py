"""One query of a client at several archives at once: their answers merged, at the client's pace.

Each archive has a task that asks it, one query after the other if its habits need several. All put their answers into
one bounded channel; while the client does not read, it fills, and TCP holds the archives back. The end of the client's
interest (C-CANCEL, abort, a lost connection) and the limit stop all archives at once. Not here: the client's request
and final response (`scp`), one archive (`ask`), the rules of the merge (`merge`).
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

import trio
from attrs import define, field, frozen

from router.dicom.dataset import DataSet, Element
from router.dicom.encoding import padded
from router.dicom.information_models import QUERY_RETRIEVE_LEVEL, UNIQUE_KEYS
from router.dicom.tags import RETRIEVE_AE_TITLE, SPECIFIC_CHARACTER_SET
from router.dimse import Status, describe
from router.services.base import ConversationEnded
from router.services.conversations import Conversation
from router.services.peers import Peers
from router.services.query.ask import MOST_IN_BATCH, Deadlines, Outcome, PeerMatch, Question, query_peer_in_batches
from router.services.query.extended import cannot_relational
from router.services.query.habits import ArchiveQuery
from router.services.query.identity import Identity, without_added
from router.services.query.matching import RETURNED_ONLY, Matching, answer_matches
from router.services.query.merge import Answer, Ordered, Stream

WAITING: Final = 4
"""Batches of answers that wait for the client: at most 128 answers, some 200 kB."""


@frozen(kw_only=True)
class Archive:
    """An archive that is asked."""

    name: str
    """The name of the peer in the configuration."""
    ae: str
    """The name of its AE for the query."""
    queries: tuple[ArchiveQuery, ...]
    cannot: str = ""
    """Why it is not asked at all."""
    deadlines: Deadlines
    may_fail: bool
    """Whether the client's query succeeds without it (`partial = "success"`)."""
    issuer: str = ""
    """The issuer of its patient IDs where its answers name none."""
    extended: bytes | None = None
    """Proposed to it."""
    compared: DataSet
    """The keys that its answers are compared with."""
    is_compared: bool
    """Compare all of its answers, not only those with FF01H."""


@frozen(kw_only=True)
class FindQuery:
    """A query of a client, as it is to be answered."""

    keys: DataSet
    """As the client sent them."""
    level: str
    """Query/Retrieve Level; "" in a worklist."""
    priority: int
    archives: Sequence[Archive]
    is_ordered: bool
    limit: int
    rules: Matching
    retrieve_ae: str
    """The Retrieve AE Title of all answers; "" in a worklist."""
    identity_of: Callable[[DataSet, str], Identity | None]
    """Return the identity of a record, with the issuer of IDs that have none."""


@define(kw_only=True)
class FindEnd:
    """How a query of a client ended."""

    outcomes: dict[str, Outcome] = field(factory=dict)
    """By name of the archive."""
    is_limited: bool = False
    """Whether there were more matches than the limit."""
    has_ended: bool = False
    """Whether the association of the client has ended."""


Send = Callable[[Sequence[Answer]], Awaitable[None]]
"""Send matches to the client.

Raises:
    ConversationEnded: the association has ended.
"""


async def find_at_all(
    query: FindQuery, peers: Peers, conversation: Conversation, send: Send, cancelled: trio.Event
) -> FindEnd:
    """Ask all archives of a query, send the client their merged answers, and return how it ended.

    Nothing is sent once `cancelled` is set.
    """
    return await _FanOut(query, peers, conversation, send, cancelled).run()


class _FanOut:
    """The archives of one query."""

    def __init__(
        self, query: FindQuery, peers: Peers, conversation: Conversation, send: Send, cancelled: trio.Event
    ) -> None:
        self._query = query
        self._peers = peers
        self._conversation = conversation
        self._send = send
        self._cancelled = cancelled
        self._stop: Final = trio.Event()
        """No further match is wanted."""
        self._end: Final = FindEnd()
        self._merge: Final[Stream | Ordered] = Ordered(query.level) if query.is_ordered else Stream()
        self._records = 0

    async def run(self) -> FindEnd:
        answers, received = trio.open_memory_channel[list[Answer]](WAITING)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._stop_when_cancelled)
            async with trio.open_nursery() as asking:
                for index, archive in enumerate(self._query.archives):
                    asking.start_soon(self._ask_archive, index, archive, answers.clone())
                answers.close()
                await self._relay(received)
            nursery.cancel_scope.cancel()
        if isinstance(self._merge, Ordered) and not self._end.has_ended:
            await self._send_all(self._merge.records()[: self._query.limit])
        return self._end

    async def _stop_when_cancelled(self) -> None:
        await self._cancelled.wait()
        self._stop.set()

    # The archives

    async def _ask_archive(self, index: int, archive: Archive, answers: trio.MemorySendChannel[list[Answer]]) -> None:
        record = self._conversation.archive(archive.name)
        outcome = Outcome(cause=archive.cannot)
        async with answers:
            for query in archive.queries:
                receive = partial(self._receive, index, archive, answers, _AsAsked(self._query.keys, query.keys))
                record.asked += 1
                question = self._question(archive, query)
                outcome = await query_peer_in_batches(self._peers, question, receive, self._stop)
                if not outcome.is_complete:
                    break
        self._end.outcomes[archive.name] = outcome
        status = describe(outcome.status, "query") if outcome.status is not None else ""
        record.answered(status, outcome.cause or ("" if outcome.is_complete else status))

    def _question(self, archive: Archive, query: ArchiveQuery) -> Question:
        return Question(
            peer=archive.ae,
            sop_class=query.sop_class,
            identifier=query.keys,
            priority=self._query.priority,
            extended=archive.extended,
            is_possible=cannot_relational if query.is_relational else lambda extended: "",
            deadlines=archive.deadlines,
        )

    async def _receive(
        self,
        index: int,
        archive: Archive,
        answers: trio.MemorySendChannel[list[Answer]],
        as_asked: "_AsAsked",
        matches: Sequence[PeerMatch],
    ) -> None:
        """Put matches of an archive into the channel, as they are for the client."""
        self._conversation.archive(archive.name).matched(len(matches))
        query, batch = self._query, []
        for match in matches:
            found = match.identifier
            is_compared = archive.is_compared or match.status == Status.PENDING_WITH_WARNING
            if not is_compared or answer_matches(archive.compared, found, query.rules):
                identity = query.identity_of(found, archive.issuer)
                batch.append(
                    Answer(index, as_asked.status_of(match), self._for_client(as_asked.elements(found)), identity)
                )
        await answers.send(batch)

    def _for_client(self, answer: dict[int, Element]) -> DataSet:
        query = self._query
        if query.level:
            answer[QUERY_RETRIEVE_LEVEL] = Element("CS", padded("CS", query.level.encode()))
        if query.retrieve_ae:
            answer[RETRIEVE_AE_TITLE] = Element("AE", padded("AE", query.retrieve_ae.encode()))
        return answer

    # The client

    async def _relay(self, received: trio.MemoryReceiveChannel[list[Answer]]) -> None:
        """Merge the answers until all archives have ended."""
        async for batch in received:
            if self._stop.is_set():
                continue
            fresh = [answer for answer in batch if self._is_fresh(answer)]
            room = self._query.limit - self._records
            self._records += len(fresh)
            if not self._query.is_ordered:
                await self._send_all(fresh[:room])
            if len(fresh) > room:
                self._end.is_limited = True
                self._stop.set()

    def _is_fresh(self, answer: Answer) -> bool:
        """Merge an answer; return whether it is the first of its record."""
        if self._merge.accept(answer):
            return True
        self._conversation.archive(self._query.archives[answer.archive].name).duplicates += 1
        return False

    async def _send_all(self, answers: Sequence[Answer]) -> None:
        for begin in range(0, len(answers), MOST_IN_BATCH):
            if self._cancelled.is_set():
                return
            try:
                await self._send(answers[begin : begin + MOST_IN_BATCH])
            except ConversationEnded:
                self._end.has_ended = True
                self._stop.set()
                return
            await trio.lowlevel.checkpoint()


class _AsAsked:
    """The answers of an archive to a query without what it was asked beyond the keys of the client."""

    def __init__(self, keys: DataSet, asked: DataSet) -> None:
        self._keys: Final = keys.keys() - RETURNED_ONLY
        # every archive supports the unique keys
        self._has_added: Final = bool(asked.keys() - keys.keys() - {*UNIQUE_KEYS.values(), SPECIFIC_CHARACTER_SET})
        self.elements: Final = without_added(keys, asked)

    def status_of(self, match: PeerMatch) -> int:
        """Return FF00H if FF01H can only be about a key that the client has not asked for."""
        if self._has_added and self._keys <= match.identifier.keys():
            return Status.PENDING
        return match.status
