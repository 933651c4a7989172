"""One operation that the peer invokes: from its command set to its response (PS3.7 7.5).

Its service judges it by its command set alone: refuses it, or says how much of a data set it may bring. So much goes
to the spool's memory or to a file as it comes in; what is refused, or longer, is dropped, and the association goes on.
Then the service performs it. Where its code raises, that is answered as a failure (0110H, or C001H to a C-STORE).
What was not committed leaves no trace. The same for an association that we accepted and for one that we opened. Not
here: reading and answering, which the association's actor does.
"""

import structlog
from attrs import evolve, frozen

from pdu import AcceptedContext, PresentationContext
from router.association.remote_ae import RemoteAE
from router.association.transport import Transport
from router.config import STANDARD_STATUSES, Statuses
from router.dimse import DATA_SET, Command, DataSetPiece, MessageBegin, Response, Status, encode
from router.logs import escaped
from router.services import Allowance, Request, Sender, Service
from router.services.refusal import refuse, refuse_for_failure, refuse_for_space
from router.spool import Incoming, OutOfSpace, Spool, SpoolClosed, SpoolFailure, TooLarge

log = structlog.get_logger()


@frozen
class OperationContext:
    """What performs the operations that a peer invokes on an association that we opened."""

    services: tuple[Service, ...]
    spool: Spool
    statuses: Statuses = STANDARD_STATUSES

    def begin(
        self, begin: MessageBegin, context: AcceptedContext, target: RemoteAE, *, is_scp: bool = False
    ) -> "Operation | None":
        """Return None if nobody performs it: neither did the association propose that we be the SCP of this SOP class
        (`is_scp`), nor does its service ever (PS3.7 D.3.3.4)."""
        offered = PresentationContext(
            id=begin.context_id, abstract_syntax=context.abstract_syntax, transfer_syntaxes=(context.transfer_syntax,)
        )
        sender = Sender(calling_ae=target.called_ae, called_ae=target.calling_ae, peer=target.host)
        for service in self.services:
            proposes = is_scp or service.proposes(context.abstract_syntax) is not None
            if proposes and service.judge(offered) is not None:
                statuses = self.statuses.towards(sender.calling_ae)
                return Operation.begin(begin, sender, 0, context, service, self.spool, statuses=statuses)
        return None


class Operation:
    """What comes in, until it is answered."""

    def __init__(self, service: Service, request: Request, context_id: int, spool: Spool, *, is_repeated: bool) -> None:
        self.service = service
        self.request = request
        self.context_id = context_id
        self._refusal: Command | None = None
        self._data: Incoming | None = None
        match self._repeated() if is_repeated else self._judge(spool):
            case Command() as refusal:
                self._refusal = refusal
            case Allowance(largest=largest, from_reserve=own) if request.command.has_data_set and largest != 0:
                self._data = spool.incoming(largest=largest, from_reserve=own)

    @classmethod
    def begin(
        cls,
        begin: MessageBegin,
        sender: Sender,
        association: int,
        context: AcceptedContext,
        service: Service,
        spool: Spool,
        *,
        statuses: Statuses = STANDARD_STATUSES,
        is_repeated: bool = False,
    ) -> "Operation":
        """The command set is in. `is_repeated`: another operation with its Message ID is under way."""
        request = Request(
            sender=sender,
            association=association,
            abstract_syntax=context.abstract_syntax,
            transfer_syntax=context.transfer_syntax,
            command=begin.command,
            command_bytes=begin.command_bytes,
            statuses=statuses,
        )
        return cls(service, request, begin.context_id, spool, is_repeated=is_repeated)

    def _repeated(self) -> Command:
        words = "an operation with this Message ID is under way"
        return refuse(self.request, Status.DUPLICATE_INVOCATION, words)

    def _judge(self, spool: Spool) -> Command | Allowance:
        command = self.request.command
        if command.field not in self.service.requests:
            words = f"{command.name} is no operation of {self.service.name}"
            return refuse(self.request, Status.UNRECOGNIZED_OPERATION, words)
        try:
            verdict = self.service.admit(self.request)
        except Exception:
            return self._failed()
        if isinstance(verdict, Allowance) and verdict.needs_room and not spool.accepting:
            return refuse_for_space(self.request)
        return verdict

    async def take(self, piece: DataSetPiece) -> None:
        """Take the next bytes of the data set. Where it is refused, or not wanted, they are dropped."""
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
        """Take no more of the data set, and leave no trace of what is here."""
        self._refusal = refusal
        await self.drop()

    async def perform(self) -> Response:
        """The message is whole: have it performed. Nothing of what was not committed is left afterwards."""
        try:
            if self._refusal is not None:
                return Response(self._refusal)
            return await self.service.perform(self.request, self._data)
        except (SpoolFailure, SpoolClosed):
            raise
        except Exception:
            return Response(self._failed())
        finally:
            await self.drop()

    def _failed(self) -> Command:
        """The response where our own code raised: the fault is the router's, the association goes on."""
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


async def send_response(transport: Transport, context_id: int, response: Response) -> None:
    """Write it whole, in one go. Raises Overtaken where the association has ended meanwhile."""
    upper_layer, command = transport.upper_layer, response.command
    if response.data_set:
        command = evolve(command, data_set_type=DATA_SET)
    buffers = upper_layer.send_data(context_id, encode(command), command=True, last=True)
    if response.data_set:
        buffers += upper_layer.send_data(context_id, response.data_set, command=False, last=True)
    await transport.send(buffers)
