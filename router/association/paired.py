"""An association with a peer that belongs to a client's: a relay, without an idea of what passes through it.

`open_paired` asks the peer before the client is answered; its acceptance decides. Both associations have the same
presentation context IDs. The acceptor gives what the client sends; what the peer sends is read here. When either
association ends, so does the other: a release becomes a release, anything else an abort. Not here: which contexts are
relayed (`services.relay`), the way of one message (`relayed_messages`).
"""

from collections.abc import Callable, Sequence
from typing import Final

import trio
from attrs import evolve, frozen

from pdu import (
    AssociateAC,
    AssociateConfirm,
    AssociateIndication,
    AssociateRQ,
    AsynchronousOperationsWindow,
    ContextResult,
    Fragment,
    Indication,
    RejectIndication,
    ReleaseConfirm,
    ReleaseIndication,
    RequestRefused,
    accept_window,
)
from router.association.agreement import RelayedTerms
from router.association.connect import Established, establish
from router.association.describe import describe_end
from router.association.errors import NotConnected
from router.association.message_pace import MessagePace
from router.association.message_turns import MessageTurns
from router.association.proposal import associate_rq
from router.association.relayed_messages import RelayedMessages
from router.association.remote_ae import RemoteAE
from router.config import Config
from router.dimse import AssemblyError, DataSetPiece, MessageAssembler, MessageBegin
from router.dimse.relayed_operations import RelayedOperations
from router.services import RelayPlan

_MOST_INDICATIONS: Final = 512
"""Indications of one read after which the other tasks have a turn."""

_NO_WINDOW: Final = AsynchronousOperationsWindow(invoked=1, performed=1)
"""Without an answer to a proposed window (PS3.7 D.3.3.3)."""


@frozen
class End:
    """How the association with the peer has ended."""

    reason: str
    released: bool = False
    """Whether by a release."""


async def open_paired(plan: RelayPlan, request: AssociateRQ, config: Config) -> tuple[Established, RelayedTerms]:
    """Ask the peer of a plan for its presentation contexts, within `timeouts.association`.

    `request`: the client's.

    Raises:
        AssociationError: the peer did not accept the association, or not in time.
    """
    peer = config.peers.get(plan.peer)
    if peer is None or peer.address is None:
        raise NotConnected(f"{plan.peer} has no address in the configuration")
    offer = _offer(plan, request, RemoteAE.of(peer, config), config.limits.window)
    patience = config.timeouts.association
    try:
        with trio.fail_after(patience):
            established = await establish(RemoteAE.of(peer, config), offer, config.timeouts)
    except trio.TooSlowError as error:
        raise NotConnected(f"no association with {plan.peer} within {patience:g} s") from error
    return established, _terms(plan, offer, established.accept)


def unavailable(plan: RelayPlan) -> RelayedTerms:
    """Return the answer in place of a peer that has given none: result 2 (PS3.8 9.3.3.2)."""
    return RelayedTerms(choices=dict(plan.refused) | {one.id: ContextResult.NO_REASON for one in plan.contexts})


def _offer(plan: RelayPlan, request: AssociateRQ, remote: RemoteAE, window: int) -> AssociateRQ:
    """Return the request to the peer: what the client says of the relayed SOP classes, as it says it."""
    concerned = {context.abstract_syntax for context in plan.contexts}
    client = request.user_information
    offer = associate_rq(
        remote,
        [evolve(context, unknown=()) for context in plan.contexts],
        [one for one in client.roles if one.sop_class_uid in concerned],
        [one for one in client.extended if one.sop_class_uid in concerned],
    )
    information = evolve(
        offer.user_information,
        common_extended=tuple(one for one in client.common_extended if one.sop_class_uid in concerned),
        asynchronous_operations_window=accept_window(
            client.asynchronous_operations_window, AsynchronousOperationsWindow(invoked=window, performed=window)
        ),
    )
    return evolve(offer, user_information=information)


def _terms(plan: RelayPlan, offer: AssociateRQ, accept: AssociateAC) -> RelayedTerms:
    results = {result.id: result for result in accept.presentation_contexts}
    choices: dict[int, str | ContextResult] = dict(plan.refused)
    for context in plan.contexts:
        result = results.get(context.id)
        if result is None:
            choices[context.id] = ContextResult.NO_REASON
        elif result.result is ContextResult.ACCEPTANCE:
            choices[context.id] = result.transfer_syntax
        else:
            choices[context.id] = result.result
    offered = offer.user_information
    answer = accept.user_information
    return RelayedTerms(
        choices=choices,
        roles={
            one.sop_class_uid: one
            for one in reversed(answer.roles)
            if any(one.sop_class_uid == role.sop_class_uid for role in offered.roles)
        },
        extended={
            one.sop_class_uid: one.information
            for one in reversed(answer.extended)
            if any(one.sop_class_uid == extended.sop_class_uid for extended in offered.extended)
        },
        window=_agreed_window(offered.asynchronous_operations_window, answer.asynchronous_operations_window),
    )


def _agreed_window(
    offered: AsynchronousOperationsWindow | None, answered: AsynchronousOperationsWindow | None
) -> AsynchronousOperationsWindow:
    return accept_window(offered, answered or _NO_WINDOW) or _NO_WINDOW


class PairedAssociation:
    """The peer's association of a relay, and the messages between it and the client's."""

    def __init__(
        self,
        established: Established,
        client: MessageTurns,
        config: Config,
        on_message: Callable[[], None],
    ) -> None:
        """Join the two associations. `on_message` is told each message that has passed."""
        self._transport = established.transport
        self._arrived: Sequence[Indication] = established.arrived
        self._contexts = self._transport.upper_layer.contexts
        self._timeouts = config.timeouts
        self._assembler = MessageAssembler(command_cap=config.limits.command_set)
        self._pace = MessagePace(self._transport, config.timeouts, config.limits)
        self._on_message = on_message
        self._clients = RelayedOperations(patience=config.timeouts.dimse)
        self._peers = RelayedOperations()
        self.to_peer: Final = RelayedMessages(
            MessageTurns(self._transport), invoked=self._clients, performed=self._peers
        )
        self.to_client: Final = RelayedMessages(client, invoked=self._peers, performed=self._clients)
        self._ended = trio.Event()
        self._end = End("")

    # Told by the acceptor

    def relays(self, piece: MessageBegin | DataSetPiece) -> bool:
        """Return whether a part of a message of the client belongs to the peer."""
        return piece.context_id in self._contexts if isinstance(piece, MessageBegin) else self.to_peer.in_message

    async def pass_on(self, piece: MessageBegin | DataSetPiece) -> None:
        """Pass on a part of a message of the client. Return when the peer has accepted it."""
        await self.to_peer.pass_on(piece)
        if not self.to_peer.in_message:
            self._on_message()

    @property
    def awaits_response(self) -> bool:
        """Whether the client waits for a response of the peer."""
        return bool(self._clients) and not self._ended.is_set()

    @property
    def is_busy(self) -> bool:
        """Whether a message, or an operation of the client, is in flight between the two."""
        in_message = self.to_peer.in_message or self.to_client.in_message
        return not self._ended.is_set() and bool(in_message or self._clients)

    async def release(self) -> End:
        """Release the association with the peer; return how it has ended. A peer that does not answer is left."""
        if not self._ended.is_set():
            await self._transport.tell(self._transport.upper_layer.release)
            with trio.move_on_after(self._timeouts.release):
                await self._ended.wait()
        return self._end if self._ended.is_set() else End("the peer did not answer the release", released=True)

    # The peer

    async def run(self) -> End:
        """Pass on what the peer sends, until its association has ended; return how. Cancellation aborts it."""
        end = End("aborted by the client")
        try:
            end = await self._pass_on_all()
        finally:
            self._end = end
            self._ended.set()
            self.to_peer.close()
            self.to_client.close()
            await self._abort_unless_released(end)
        return end

    async def _abort_unless_released(self, end: End) -> None:
        if self._transport.is_open and not end.released:
            with trio.move_on_after(self._timeouts.release, shield=True):
                await self._transport.tell(self._transport.upper_layer.abort)
        self._transport.close()

    async def _pass_on_all(self) -> End:
        while True:
            for number, indication in enumerate(self._arrived, 1):
                if (end := await self._on_indication(indication)) is not None:
                    return end
                if not number % _MOST_INDICATIONS:
                    await trio.lowlevel.checkpoint()
            if not self._transport.is_open:
                return End("the connection to the peer is closed")
            try:
                self._arrived = await self._transport.read(self._longest_wait())
            except TimeoutError:
                self._arrived = ()
                if (end := self._overdue()) is not None:
                    return end
            else:
                if not self._arrived or self._assembler.in_message:
                    self._transport.acknowledge()

    def _longest_wait(self) -> float:
        """Return the seconds that the next read may wait: never past the deadline of an operation that begins now."""
        left = min(self._timeouts.dimse, self._clients.deadline - trio.current_time())
        return max(0.0, min(left, self._pace.left) if self._assembler.in_message else left)

    def _overdue(self) -> End | None:
        if self._assembler.in_message and self._pace.left <= 0:
            return End(self._pace.reason)
        if self._clients.deadline <= trio.current_time():
            return End(f"no response of the peer within {self._timeouts.dimse:g} s")
        return None

    async def _on_indication(self, indication: Indication) -> End | None:
        match indication:
            case Fragment():
                return await self._on_fragment(indication)
            case ReleaseIndication(collision=collision):
                await self._transport.tell(self._transport.upper_layer.respond_release)
                return None if collision else End("released by the peer", released=True)
            case ReleaseConfirm():
                return End("released", released=True)
            case AssociateIndication() | RequestRefused() | AssociateConfirm() | RejectIndication():
                raise AssertionError(f"an established association was told {indication}")
            case _:
                return End(describe_end(indication))

    async def _on_fragment(self, fragment: Fragment) -> End | None:
        if not self._assembler.in_message:
            self._pace.begin()
        try:
            piece = self._assembler.feed(fragment)
        except AssemblyError as error:
            return End(f"the peer's fragments make no message: {error}")
        if piece is not None:
            await self.to_client.pass_on(piece)
            if not self.to_client.in_message:
                self._on_message()
        return None
