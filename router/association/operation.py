"""One operation that the peer invokes: from its command set to its final response (PS3.7 7.5).

The service that performs the Command Field on the presentation context's abstract syntax admits it by its command set
alone: it refuses it, or says how long its data set may be. The data set goes to the spool's memory or to a file as it
comes in; one that is refused or longer is dropped, and the association goes on. Then the service performs the
operation. An exception of its code is answered as a failure (0110H, or C001H to a C-STORE). A data set that is not
committed leaves no trace. Not here: reading, and several operations of one association (`operations`).
"""

from collections.abc import Sequence
from typing import Final

import structlog
import trio
from attrs import frozen

from pdu import AcceptedContext, Overtaken, PresentationContext
from router.association.errors import AssociationError
from router.association.message_turns import MessageSender
from router.association.remote_ae import RemoteAE
from router.association.reverse import ReverseAssociation
from router.config import STANDARD_STATUSES, Statuses
from router.dimse import (
    DATA_SET,
    Command,
    DataSetPiece,
    MessageBegin,
    Response,
    Status,
    StatusClass,
    encode,
    status_class,
)
from router.logs import escaped
from router.network.sockets import Buffer
from router.services import (
    DEFAULT_TERMS,
    SCP,
    Allowance,
    ConversationEnded,
    DeliveryPolicy,
    NegotiatedTerms,
    PeerUnanswered,
    Proposal,
    Replies,
    Request,
    Sender,
    Service,
)
from router.services.refusal import refuse, refuse_for_failure, refuse_for_space
from router.spool import Incoming, OutOfSpace, Spool, SpoolClosed, SpoolFailure, TooLarge

log = structlog.get_logger()

_GRACE: Final = 5.0
"""Seconds that a conversational operation has to return in after its association has ended."""


class _NoReplies:
    """The replies of an operation that has one response only."""

    cancelled = trio.Event()
    has_ended = False
    storable: frozenset[tuple[str, str]] = frozenset()

    async def send_instance(self, command: Command, transfer_syntax: str, content: Buffer) -> Response:
        raise AssertionError("only a conversational service has its invoker store instances")

    async def send(self, *responses: Response) -> None:
        raise AssertionError("only a conversational service sends pending responses")


class OperationReplies:
    """The replies of one operation on one association."""

    def __init__(self, transport: MessageSender, context_id: int, reverse: ReverseAssociation | None = None) -> None:
        """`reverse`: for the sub-operations that the invoker performs on the association, if it does any."""
        self._transport = transport
        self._context_id = context_id
        self._reverse = reverse
        self._ended = False
        self.cancelled: Final = trio.Event()
        self.scope: Final = trio.CancelScope()
        """The operation is performed in this scope."""

    @property
    def has_ended(self) -> bool:
        return self._ended

    @property
    def storable(self) -> frozenset[tuple[str, str]]:
        return frozenset(self._reverse.contexts) if self._reverse else frozenset()

    async def send_instance(self, command: Command, transfer_syntax: str, content: Buffer) -> Response:
        """Have the invoker store an instance, as `Replies.send_instance`."""
        assert self._reverse is not None, "it stores what is storable"
        context = self._reverse.contexts[command.sop_class_uid, transfer_syntax]
        try:
            return await self._reverse.request(context, command, content)
        except AssociationError as error:
            raise PeerUnanswered(str(error)) from error

    async def send(self, *responses: Response) -> None:
        """Send pending responses.

        Raises:
            ConversationEnded: the association has ended.
        """
        if any(status_class(response.status) is not StatusClass.PENDING for response in responses):
            raise AssertionError("a final response is returned, not sent")
        if not self._ended:
            try:
                await send_response(self._transport, self._context_id, *responses)
            except Overtaken:
                self._ended = True
        if self._ended or not self._transport.can_send:
            raise ConversationEnded

    def end(self) -> None:
        """Tell the operation that the association has ended, and cancel its task after the grace."""
        if not self._ended:
            self._ended = True
            self.cancelled.set()
            self.scope.deadline = trio.current_time() + _GRACE


_NO_REPLIES: Final = _NoReplies()


@frozen(kw_only=True)
class Invoker:
    """The peer that invokes the operations of one association, and what they are performed with."""

    sender: Sender
    association: int
    """The number of the association in the log; 0 for one that the router opened."""
    spool: Spool
    statuses: Statuses = STANDARD_STATUSES
    """The status codes of refusals towards the peer."""


@frozen
class OperationPerformer:
    """What performs the operations that a peer invokes on an association that we opened."""

    services: tuple[Service, ...]
    spool: Spool
    statuses: Statuses = STANDARD_STATUSES

    def begin(
        self, begin: MessageBegin, context: AcceptedContext, target: RemoteAE, *, is_scp: bool = False
    ) -> "Operation | None":
        """Begin the operation, or return None if the peer may not invoke it.

        It may if we proposed to be the SCP of the SOP class, on this association (`is_scp`) or for deliveries
        (PS3.7 D.3.3.4).
        """
        policies = (service for service in self.services if isinstance(service, DeliveryPolicy))
        if not is_scp and all(policy.proposes(context.abstract_syntax) is None for policy in policies):
            return None
        offered = PresentationContext(
            id=begin.context_id, abstract_syntax=context.abstract_syntax, transfer_syntaxes=(context.transfer_syntax,)
        )
        sender = Sender(calling_ae=target.called_ae, called_ae=target.calling_ae, peer=target.host)
        proposal = Proposal(context=offered, requestor=sender)
        scps = [
            service
            for service in self.services
            if isinstance(service, SCP)
            and not service.conversational
            and service.negotiate(proposal) == context.transfer_syntax
        ]
        statuses = self.statuses.for_calling_ae(sender.calling_ae)
        invoker = Invoker(sender=sender, association=0, spool=self.spool, statuses=statuses)
        return Operation.begin(begin, invoker, context, scps)


class Operation:
    """One request, until it is answered."""

    def __init__(
        self, service: SCP | None, request: Request, context_id: int, spool: Spool, *, is_repeated: bool
    ) -> None:
        """`service`: None if no service performs the request."""
        self.service: Final = service
        self.request: Final = request
        self.context_id: Final = context_id
        self._refusal: Command | None = None
        self._data: Incoming | None = None
        match self._repeated() if is_repeated else self._admit(spool):
            case Command() as refusal:
                self._refusal = refusal
            case Allowance(largest=largest, from_reserve=own) if request.command.has_data_set and largest != 0:
                self._data = spool.intake.incoming(largest=largest, from_reserve=own)

    @classmethod
    def begin(
        cls,
        begin: MessageBegin,
        invoker: Invoker,
        context: AcceptedContext,
        services: Sequence[SCP],
        *,
        terms: NegotiatedTerms = DEFAULT_TERMS,
        is_repeated: bool = False,
    ) -> "Operation":
        """Begin an operation whose command set is complete.

        `services`: those that accept the presentation context; the first that performs the Command Field gets the
        operation. `is_repeated`: another operation with its Message ID is being performed.
        """
        request = Request(
            sender=invoker.sender,
            association=invoker.association,
            abstract_syntax=context.abstract_syntax,
            transfer_syntax=context.transfer_syntax,
            command=begin.command,
            command_bytes=begin.command_bytes,
            statuses=invoker.statuses,
            terms=terms,
        )
        for service in services:
            if begin.command.field in service.requests:
                return cls(service, request, begin.context_id, invoker.spool, is_repeated=is_repeated)
        return cls(None, request, begin.context_id, invoker.spool, is_repeated=is_repeated)

    @property
    def message_id(self) -> int | None:
        return self.request.command.message_id

    @property
    def is_parallel(self) -> bool:
        """Whether it may be performed while others of its association are."""
        return self.service is None or self.service.parallel

    @property
    def is_conversational(self) -> bool:
        """Whether its service sends pending responses or can be cancelled."""
        return self.service is not None and self.service.conversational and self._refusal is None

    def _repeated(self) -> Command:
        return refuse(self.request, Status.DUPLICATE_INVOCATION, "an operation with this Message ID is under way")

    def _admit(self, spool: Spool) -> Command | Allowance:
        if self.service is None:
            message = f"no operation of this presentation context: {self.request.command.name}"
            return refuse(self.request, Status.UNRECOGNIZED_OPERATION, message)
        try:
            verdict = self.service.admit(self.request)
        except Exception:
            return self._failed()
        if isinstance(verdict, Allowance) and verdict.needs_room and not spool.intake.accepting:
            return refuse_for_space(self.request)
        return verdict

    async def write(self, piece: DataSetPiece) -> None:
        """Write the next bytes of the data set to the spool; drop them if the request is refused or may have none."""
        if self._data is None:
            return
        try:
            await self._data.write(piece.data)
            if piece.is_last:
                await self._data.finish()
        except OutOfSpace:
            await self._refuse(refuse_for_space(self.request))
        except TooLarge as error:
            await self._refuse(refuse_for_space(self.request, str(error)))

    async def _refuse(self, refusal: Command) -> None:
        """Drop the rest of the data set, and leave no trace of what has come in."""
        self._refusal = refusal
        await self.drop()

    async def perform(self, replies: Replies = _NO_REPLIES) -> Response:
        """Have the complete request performed, and return its final response. Drop the data set unless committed.

        Raises:
            ConversationEnded: the service was to send a pending response, and the association has ended.
            SpoolFailure, SpoolClosed: the router has to stop.
        """
        try:
            if self._refusal is not None:
                return Response(self._refusal)
            assert self.service is not None, "a request without a service is refused"
            return await self.service.perform(self.request, self._data, replies)
        except (SpoolFailure, SpoolClosed, ConversationEnded):
            raise
        except Exception:
            return Response(self._failed())
        finally:
            await self.drop()

    def _failed(self) -> Command:
        """Log an exception of our own code and return the response; the association goes on."""
        request = self.request
        log.exception(
            "operation crashed",
            association=request.association,
            calling_ae=escaped(request.sender.calling_ae),
            peer=request.sender.peer,
            command=request.command.name,
        )
        return refuse_for_failure(request)

    async def drop(self) -> None:
        """Leave no trace of a data set that was not committed."""
        data, self._data = self._data, None
        if data is not None:
            await data.discard()


async def send_response(transport: MessageSender, context_id: int, *responses: Response) -> None:
    """Send responses whole, in one write.

    Raises:
        Overtaken: the association has ended.
    """
    upper_layer = transport.upper_layer
    buffers: list[Buffer] = []
    for response in responses:
        command = response.command
        if response.data_set and not command.has_data_set:
            command = command.changed(data_set_type=DATA_SET)
        buffers += upper_layer.send_data(context_id, encode(command), command=True, last=True)
        if response.data_set:
            buffers += upper_layer.send_data(context_id, response.data_set, command=False, last=True)
    await transport.send(buffers)
