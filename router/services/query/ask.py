"""Ask one peer one query (C-FIND as SCU): its matches as they come, at the reader's pace, and how it ended.

The end is a value, whatever the peer does: no connection, no presentation context, silence, an abort, an answer that
cannot be read. A query is cancelled at any moment: a C-CANCEL-RQ goes out at once, and the association is kept if the
peer ends the operation soon. Not here: which identifier the peer gets (`habits`), and several peers (`fan_out`).
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

import trio
from attrs import field, frozen

from pdu import SOPClassExtendedNegotiation
from router.dicom.dataset import DataSet
from router.dicom.encoding import MalformedDataSet
from router.dimse import DATA_SET, Command, CommandField, Priority, Response, Status
from router.services.peers import PeerContext, PeerConversation, PeerRequest, Peers, PeerUnanswered
from router.services.query.identifier import PROPOSED_SYNTAXES, decode_identifier, encode_identifier

DRAIN: Final = 1.0
"""Seconds that a peer has to end a cancelled query; then the association is aborted."""
MOST_IN_BATCH: Final = 32
"""Matches that are handed over together: one write to the client costs as much as the work on one match."""
LARGEST_BATCH: Final = 64 << 10
"""Bytes of identifiers after which no further match is added to those that are handed over together."""


@frozen(kw_only=True)
class Deadlines:
    """The seconds that a query may take at one peer."""

    connect: float = 5.0
    """For the connection, and for the answer to the A-ASSOCIATE-RQ."""
    first_answer: float = 20.0
    between_answers: float = 20.0
    deadline: float = 60.0
    """Until the final response."""


@frozen(kw_only=True)
class Question:
    """One query for one peer."""

    peer: str
    """The name of the AE in the configuration."""
    sop_class: str
    """The SOP Class UID for C-FIND of the information model."""
    identifier: DataSet
    priority: int = Priority.MEDIUM
    extended: bytes | None = None
    """Service-class-application-information of SOP Class Extended Negotiation to propose (PS3.4 C.5.1.1)."""
    is_possible: Callable[[bytes | None], str] = lambda extended: ""
    """Return why the query cannot be sent, from the peer's answer to extended negotiation; "" if it can."""
    deadlines: Deadlines = field(factory=Deadlines)


@frozen
class PeerMatch:
    """One match of a peer."""

    status: int
    """FF00H, or FF01H: an optional key was not supported for matching or existence."""
    identifier: DataSet


@frozen(kw_only=True)
class Outcome:
    """How a query ended at one peer."""

    matches: int = 0
    status: int | None = None
    """The status of the final response; None if there was none."""
    cause: str = ""
    """Why there was no final response; "" if there was one."""
    comment: str = ""
    """The Error Comment of the final response. It may hold a patient's name: keep it out of the log."""
    offending: tuple[int, ...] = ()
    """The tags of the final response's Offending Element."""
    has_associated: bool = False
    """Whether an association with a presentation context for the query was there, so that `extended` says something."""
    extended: bytes | None = None
    """The peer's answer to SOP Class Extended Negotiation."""
    seconds: float = 0.0

    @property
    def is_complete(self) -> bool:
        """Whether the peer says that it has sent every match that it knows (PS3.4 C.4.1.3.1)."""
        return self.status == Status.SUCCESS


Receive = Callable[[PeerMatch], Awaitable[None]]
"""Accept a match; while it does not return, the peer is held back. Never raises."""
ReceiveAll = Callable[[Sequence[PeerMatch]], Awaitable[None]]
"""As `Receive`, for matches that have come together."""


async def query_peer(peers: Peers, question: Question, receive: Receive, cancelled: trio.Event) -> Outcome:
    """Ask a peer, give each of its matches to `receive`, and return how it ended.

    When `cancelled` is set, no further match is given, and the peer is sent a C-CANCEL-RQ; the same when the deadline
    has passed.
    """

    async def receive_all(matches: Sequence[PeerMatch]) -> None:
        for match in matches:
            if not cancelled.is_set():
                await receive(match)

    return await query_peer_in_batches(peers, question, receive_all, cancelled)


async def query_peer_in_batches(
    peers: Peers, question: Question, receive: ReceiveAll, cancelled: trio.Event
) -> Outcome:
    """As `query_peer`, with the matches that have come while `receive` was busy in one call."""
    asking = _Asking(question, receive)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(asking.end_when_unwanted, cancelled, nursery.cancel_scope)
        await asking.run(peers)
        nursery.cancel_scope.cancel()
    return asking.as_outcome()


class _Asking:
    """One query at one peer, from the association to its end."""

    def __init__(self, question: Question, receive: ReceiveAll) -> None:
        self._question = question
        self._receive = receive
        self._began = trio.current_time()
        self._conversation: PeerConversation | None = None
        self._context: PeerContext | None = None
        self._handing_over = trio.CancelScope()
        """`receive` is waited for in it."""
        self._stopped = ""
        """Why no further match is wanted."""
        self._matches = 0
        self._has_answered = False
        self._final: Response | None = None
        self._cause = ""

    def as_outcome(self) -> Outcome:
        """Return how it has ended."""
        final, context = self._final, self._context
        return Outcome(
            matches=self._matches,
            status=final.status if final and not self._stopped else None,
            cause=self._stopped or self._cause,
            comment=(final and final.command.error_comment) or "",
            offending=(final and final.command.offending_element) or (),
            has_associated=context is not None,
            extended=context.extended if context else None,
            seconds=trio.current_time() - self._began,
        )

    async def end_when_unwanted(self, cancelled: trio.Event, scope: trio.CancelScope) -> None:
        """Wait until no further match is wanted, and have the peer end the query. `scope` ends all of it."""
        seconds = self._question.deadlines.deadline
        with trio.move_on_at(self._began + seconds):
            await cancelled.wait()
        self._stopped = "cancelled" if cancelled.is_set() else f"not complete within {seconds:g} s"
        self._handing_over.cancel()
        if self._conversation is None:
            scope.cancel()
            return
        scope.deadline = trio.current_time() + DRAIN
        with suppress(PeerUnanswered):
            await self._conversation.cancel()

    async def run(self, peers: Peers) -> None:
        """Converse to the end; note why, if the end is not a final response."""
        question = self._question
        request = PeerRequest(
            peer=question.peer,
            abstract_syntax=question.sop_class,
            transfer_syntaxes=PROPOSED_SYNTAXES,
            command=Command(
                field=CommandField.C_FIND_RQ,
                affected_sop_class_uid=question.sop_class,
                priority=question.priority,
                data_set_type=DATA_SET,
            ),
            data_set=self._identifier_for,
            deadline=question.deadlines.deadline,
            connect=question.deadlines.connect,
            patience=max(question.deadlines.first_answer, question.deadlines.between_answers) + DRAIN,
            extended=()
            if question.extended is None
            else (SOPClassExtendedNegotiation(sop_class_uid=question.sop_class, information=question.extended),),
        )
        try:
            async with peers.converse(request) as self._conversation:
                await self._read(self._conversation)
        except PeerUnanswered as error:
            self._cause = str(error)

    def _identifier_for(self, context: PeerContext) -> bytes:
        self._context = context
        if reason := self._question.is_possible(context.extended):
            raise PeerUnanswered(reason)
        return encode_identifier(self._question.identifier, context.transfer_syntax)

    async def _read(self, conversation: PeerConversation) -> None:
        """Read to the final response, or until the peer is silent for too long."""
        most = 1  # the first match is handed over at once
        while self._final is None and not self._cause:
            batch: list[PeerMatch] = []
            size = 0
            while len(batch) < most and size < LARGEST_BATCH:
                response = await self._next(conversation, may_wait=not batch)
                if response is None:
                    break
                size += len(response.data_set)
                if response.is_pending and not self._stopped and (match := self._match(response, conversation)):
                    batch.append(match)
            most = min(2 * most, MOST_IN_BATCH)
            if batch and not self._stopped:
                self._matches += len(batch)
                with self._handing_over:
                    await self._receive(batch)
                self._handing_over = trio.CancelScope()
            await trio.lowlevel.checkpoint()

    async def _next(self, conversation: PeerConversation, *, may_wait: bool) -> Response | None:
        """Return the next response; None after the final one, without one, or if it would have to be waited for."""
        if self._final is not None or self._cause or not (may_wait or conversation.has_arrived):
            return None
        deadlines = self._question.deadlines
        patience = deadlines.between_answers if self._has_answered else deadlines.first_answer
        response: Response | None = None
        try:
            if conversation.has_arrived:
                response = await anext(conversation)
            else:
                with trio.move_on_after(patience):
                    response = await anext(conversation)
        except PeerUnanswered as error:
            self._cause = str(error)
            return None
        if response is None:
            matches = "1 match" if self._matches == 1 else f"{self._matches} matches"
            self._cause = f"silent for {patience:g} s after {matches}"
        elif response.is_pending:
            self._has_answered = True
        else:
            self._final = response
        return response

    def _match(self, response: Response, conversation: PeerConversation) -> PeerMatch | None:
        """Return the match of a pending response; None, and the cause is noted, if there is none to be read."""
        if not response.data_set:
            self._cause = "a match without an identifier"
            return None
        try:
            found = decode_identifier(response.data_set, conversation.context.transfer_syntax)
        except MalformedDataSet as error:
            self._cause = f"a match that cannot be read: {error}"
            return None
        return PeerMatch(response.status, found)
