"""The relay of one client's association, from its A-ASSOCIATE-RQ to its end; one conversation, one line in the log.

It has a task of its own, so that the client is read while the peer is asked: one that gives up is noticed at once.
Not here: the association with the peer (`paired`).
"""

from collections.abc import Awaitable, Callable
from typing import Final

import structlog
import trio

from pdu import AssociateRQ
from router.association.agreement import RelayedTerms
from router.association.connect import Established
from router.association.errors import AssociationError
from router.association.message_turns import MessageTurns
from router.association.paired import End, PairedAssociation, open_paired, unavailable
from router.association.transport import Transport
from router.config import Config
from router.dimse import DataSetPiece, MessageBegin
from router.services import RelayPlan
from router.services.conversations import Conversation

log = structlog.get_logger()


class ClientRelay:
    """One relay."""

    def __init__(
        self,
        plan: RelayPlan,
        config: Config,
        client: Transport,
        conversation: Conversation,
        on_message: Callable[[], None],
    ) -> None:
        """Expect `run`; `on_message` is told when a message has passed."""
        self.turns: Final = MessageTurns(client)
        """The way to the client, which the router's own messages share."""
        self.is_releasing = False
        """Whether the client has asked for the release."""
        self._plan: Final = plan
        self._config: Final = config
        self._conversation: Final = conversation
        self._record: Final = conversation.archive(plan.peer)
        self._scope: Final = trio.CancelScope()
        self._established: Established | None = None
        self._paired: PairedAssociation | None = None
        self._on_message: Final = on_message
        self._clients_end = ""

    # The relay's own task

    async def run(self, request: AssociateRQ, answer: Callable[[RelayedTerms], Awaitable[None]]) -> End | None:
        """Ask the peer, have the client answered, and pass messages on until either association has ended.

        Return how the peer's association has ended; None if there was none, or the client's has ended first.
        `answer` answers the client, and calls `pair` before.
        """
        with self._conversation, self._scope:
            try:
                await answer(await self._open(request))
                if self._paired is not None:
                    end = await self._paired.run()
                    self._finish(end)
                    return end
            finally:
                if self._established is not None:
                    self._established.transport.close()
                if self._clients_end:
                    self._finish(End(self._clients_end, released=True))
        return None

    async def _open(self, request: AssociateRQ) -> RelayedTerms:
        try:
            self._established, terms = await open_paired(self._plan, request, self._config)
        except AssociationError as error:
            self._record.answered("no association", str(error))
            self._conversation.finish("no association")
            log.warning("not relayed", route=self._plan.route, destination=self._plan.peer, why=str(error))
            return unavailable(self._plan)
        return terms

    def pair(self) -> MessageTurns:
        """Join the two associations, if the peer has accepted its own; return the way of messages to the client."""
        if self._established is not None:
            self._paired = PairedAssociation(self._established, self.turns, self._config, self._passed)
        return self.turns

    def _passed(self) -> None:
        self._write_down()
        self._on_message()

    def _write_down(self) -> None:
        """Write down what has passed."""
        assert self._paired is not None
        to_peer, to_client = self._paired.to_peer, self._paired.to_client
        self._record.asked = to_peer.operations.total()
        if to_client.statuses:
            self._record.matched(0)
        self._conversation.describe(
            operations=dict(to_peer.operations),
            operations_of_peer=dict(to_client.operations),
            statuses=dict(to_client.statuses),
            data_set_bytes=to_peer.data_bytes,
            data_set_bytes_of_peer=to_client.data_bytes,
        )

    def _finish(self, end: End) -> None:
        if self._paired is not None:
            self._write_down()
        if not self._conversation.status:
            self._conversation.finish(end.reason)
            self._record.answered(end.reason, "" if end.released else end.reason)

    # The client's association

    def relays(self, piece: MessageBegin | DataSetPiece) -> bool:
        """Return whether a part of a message of the client belongs to the peer."""
        return self._paired is not None and self._paired.relays(piece)

    async def pass_on(self, piece: MessageBegin | DataSetPiece) -> None:
        """Pass on a part of a message of the client. Return when the peer has accepted it."""
        assert self._paired is not None
        await self._paired.pass_on(piece)

    @property
    def in_message(self) -> bool:
        """Whether a message of the client to the peer has begun and its data set is not complete."""
        return self._paired is not None and self._paired.to_peer.in_message

    @property
    def awaits_response(self) -> bool:
        """Whether the client waits for a response of the peer."""
        return self._paired is not None and self._paired.awaits_response

    @property
    def is_busy(self) -> bool:
        """Whether a message, or an operation of the client, is in flight between the two."""
        return self._paired is not None and self._paired.is_busy

    async def release(self) -> End | None:
        """Release the peer's association for the client; return how it has ended, None if there was none."""
        self.is_releasing = True
        return await self._paired.release() if self._paired is not None else None

    def close(self, outcome: str) -> None:
        """Note that the client's association has ended: the peer's is aborted, if it has not ended before."""
        self._clients_end = outcome
        self._scope.cancel()
