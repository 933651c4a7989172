"""The engine of one connection (PS3.8 9.2): bytes and primitives in, effects and indications out.

Sans-I/O: `UpperLayer` reads no socket and no clock. It returns ONE list, to be carried out in order. `state` has the
table, `framing` parses the stream, `reader` and `writer` know the PDUs, `actions` the effects; this module connects
them. All events go through `_happen`.

How a transport drives it:
- the acceptor calls `transport_connected()` first; the requestor `associate(rq)`, connects, `transport_connected()`;
- then it receives into `writable()` and calls `received(count)`, with 0 at the end of the stream;
- a `Fragment` is a view into that buffer and is valid until the next `writable()`;
- it may `lend()` a buffer of its own, and must `give_back()` before it lends the buffer to another `UpperLayer`;
- a primitive that the state does not allow is a `LocalError` and changes nothing.
"""

from collections.abc import Mapping
from typing import assert_never

from pdu.actions import Answer, Cause, carry_out
from pdu.errors import (
    InvalidParameterValue,
    LocalError,
    Overtaken,
    PDUTooLong,
    ProtocolError,
    UnexpectedPDU,
)
from pdu.framing import Body, Framing, Header
from pdu.items import fault_in_ids
from pdu.negotiation import AcceptedContext, accepted_contexts, check_accept, check_request
from pdu.pdus import (
    Abort,
    AbortReason,
    AbortSource,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    Buffer,
    PDUType,
)
from pdu.reader import decode_body, known_type
from pdu.state import TABLE, Action, Event, Role, State
from pdu.writer import encode, frame_data

_PDU_EVENTS = {
    PDUType.A_ASSOCIATE_RQ: Event.ASSOCIATE_RQ_PDU,
    PDUType.A_ASSOCIATE_AC: Event.ASSOCIATE_AC_PDU,
    PDUType.A_ASSOCIATE_RJ: Event.ASSOCIATE_RJ_PDU,
    PDUType.P_DATA_TF: Event.P_DATA_TF_PDU,
    PDUType.A_RELEASE_RQ: Event.RELEASE_RQ_PDU,
    PDUType.A_RELEASE_RP: Event.RELEASE_RP_PDU,
    PDUType.A_ABORT: Event.ABORT_PDU,
}
_ASSOCIATES = (PDUType.A_ASSOCIATE_RQ, PDUType.A_ASSOCIATE_AC)
_UNREAD = (Action.AA_1, Action.AA_6, Action.AA_7, Action.AA_8)
"""Actions that do not depend on the body of the PDU: it is skipped."""
_UNCONNECTED = (State.STA1, State.STA4)
_RECEIVING = tuple(s for s in State if TABLE[s, Event.P_DATA_TF_PDU] in (Action.DT_2, Action.AR_6))
_SENDING = tuple(s for s in State if TABLE[s, Event.P_DATA_REQUEST])


class UpperLayer:
    """One association over one connection, seen from one side.

    Args, all in bytes:
        maximum_length: announced to the peer and enforced: the variable field of a P-DATA-TF; 0 means no limit.
        buffer_size: the receive buffer, if the transport lends none.
        associate_cap: the longest A-ASSOCIATE PDU. 256 KiB hold all 128 contexts that PS3.8 allows, with 20 transfer
            syntaxes of 64 characters each, and a role for each of them: 189 KiB.
    """

    def __init__(
        self,
        *,
        role: Role,
        maximum_length: int = 131072,
        buffer_size: int = 262144,
        associate_cap: int = 1 << 18,
    ) -> None:
        self._role = role
        self._maximum_length = maximum_length
        self._associate_cap = associate_cap
        self._framing = Framing(buffer_size)
        self._state = State.STA1
        self._used = False
        self._request: AssociateRQ | None = None
        self._contexts: dict[int, AcceptedContext] = {}
        self._peer_maximum_length = 0

    @property
    def state(self) -> State:
        """Sta1 to Sta13."""
        return self._state

    @property
    def role(self) -> Role:
        """Requestor or acceptor."""
        return self._role

    @property
    def contexts(self) -> Mapping[int, AcceptedContext]:
        """The accepted presentation contexts by ID; empty until the association is established."""
        return self._contexts

    @property
    def peer_maximum_length(self) -> int:
        """Bytes that the peer accepts in the variable field of a P-DATA-TF; 0 means no limit."""
        return self._peer_maximum_length

    # -- the transport -------------------------------------------------------------------------------------------

    def writable(self) -> memoryview:
        """Return the space to receive into, never empty. Invalidates every earlier `Fragment`."""
        return self._framing.writable()

    def lend(self, buffer: memoryview) -> None:
        """Make `writable()` return this buffer, of at least 64 bytes. Invalidates every earlier `Fragment`."""
        self._framing.lend(buffer)

    def give_back(self) -> None:
        """Stop using the lent buffer. Invalidates every earlier `Fragment`."""
        self._framing.give_back()

    def received(self, count: int) -> Answer:
        """Parse `count` bytes that were received; 0 means the end of the stream (Evt17)."""
        if self._state in _UNCONNECTED:
            raise self._misuse("received()")
        if count == 0:
            return self._happen(Event.TRANSPORT_CLOSED)
        self._framing.arrived(count)
        answer: Answer = []
        try:
            self._read(answer)
        except ProtocolError as error:
            self._framing.discard_input()
            answer += self._happen(Event.INVALID_PDU, error)
        return answer

    def transport_connected(self) -> Answer:
        """Start on an open connection: Evt5 for the acceptor, Evt2 for a requestor that has called `associate`."""
        if self._role is Role.REQUESTOR:
            return self._happen(Event.TRANSPORT_CONNECT_CONFIRM)
        return self._happen(Event.TRANSPORT_CONNECT_INDICATION)

    def transport_closed(self) -> Answer:
        """Note that the connection closed or could not be opened (Evt17)."""
        return self._happen(Event.TRANSPORT_CLOSED)

    def artim_expired(self) -> Answer:
        """Note that the timer of `StartArtim` ran out (Evt18)."""
        return self._happen(Event.ARTIM_EXPIRED)

    # -- the service user ----------------------------------------------------------------------------------------

    def associate(self, rq: AssociateRQ) -> Answer:
        """Request an association (Evt1); `rq` is sent when the transport is connected.

        Raises:
            LocalError: this side is the acceptor, or `rq` proposes nothing or has a fault in its context IDs.
        """
        self._expect(Event.ASSOCIATE_REQUEST)
        if self._role is not Role.REQUESTOR:
            raise LocalError("only a requestor associates")
        if not rq.presentation_contexts:
            raise LocalError("a request without a presentation context is of no use")
        if fault := fault_in_ids(context.id for context in rq.presentation_contexts):
            raise LocalError(fault)
        self._check_announced(rq)
        return self._happen(Event.ASSOCIATE_REQUEST, rq)

    def accept(self, ac: AssociateAC) -> Answer:
        """Accept the association (Evt7).

        Raises:
            LocalError: `ac` answers a context or accepts a transfer syntax that was not proposed.
        """
        self._expect(Event.ASSOCIATE_RESPONSE_ACCEPT)
        self._check_announced(ac)
        try:
            checked = check_accept(self._proposed(), ac)
        except ProtocolError as error:
            raise LocalError(str(error)) from error
        if checked != ac:
            raise LocalError("a presentation context is accepted in a transfer syntax that was not proposed")
        return self._happen(Event.ASSOCIATE_RESPONSE_ACCEPT, ac)

    def reject(self, rj: AssociateRJ) -> Answer:
        """Reject the association (Evt8)."""
        return self._happen(Event.ASSOCIATE_RESPONSE_REJECT, rj)

    def release(self) -> Answer:
        """Request the release of the association (Evt11). Fragments may follow until the `ReleaseConfirm`."""
        return self._happen(Event.RELEASE_REQUEST)

    def respond_release(self) -> Answer:
        """Confirm the release that the peer requested (Evt14)."""
        return self._happen(Event.RELEASE_RESPONSE)

    def abort(
        self,
        source: AbortSource = AbortSource.USER,
        reason: AbortReason = AbortReason.NOT_SPECIFIED,
    ) -> Answer:
        """Abort the association (Evt15)."""
        return self._happen(Event.ABORT_REQUEST, Abort(source=source, reason=reason))

    def send_data(self, context_id: int, data: Buffer, *, command: bool, last: bool) -> list[Buffer]:
        """Frame `data` (Evt9): return headers and slices of `data` in turn, cut to the peer's maximum length.

        `last` ends the command or data set. Write the buffers whole, in order, with nothing between them.

        Raises:
            Overtaken: the association has ended.
            LocalError: the state does not allow data, or the context is not accepted.
        """
        if self._state not in _SENDING:
            raise self._misuse("send_data()")
        if context_id not in self._contexts:
            raise LocalError(f"presentation context {context_id} is not accepted")
        return frame_data(context_id, data, command=command, last=last, maximum_length=self._peer_maximum_length)

    # -- what arrives --------------------------------------------------------------------------------------------

    def _read(self, answer: Answer) -> None:
        while self._state is not State.STA1:
            match self._framing.next(answer):
                case None:
                    return
                case Header() as header:
                    answer += self._begin_pdu(header)
                case Body() as body:
                    pdu = decode_body(body.pdu_type, body.data)
                    if isinstance(pdu, AssociateAC) and self._state is State.STA5:
                        pdu = check_accept(self._proposed(), pdu)
                    answer += self._happen(_PDU_EVENTS[body.pdu_type], pdu)
                case never:
                    assert_never(never)

    def _begin_pdu(self, header: Header) -> Answer:
        """Gather or skip the body of a PDU by its header; one that the state does not allow ends the association."""
        pdu_type = known_type(header.pdu_type)
        if pdu_type in _ASSOCIATES and header.length > self._associate_cap:
            raise PDUTooLong(f"{pdu_type} of {header.length} bytes, where {self._associate_cap} are allowed")
        if pdu_type not in (*_ASSOCIATES, PDUType.P_DATA_TF) and header.length != 4:
            raise InvalidParameterValue(f"{pdu_type} of {header.length} bytes, where the standard has 4")
        event = _PDU_EVENTS[pdu_type]
        if TABLE[self._state, event] not in _UNREAD:
            self._framing.gather(header)
            return []
        self._framing.skip(header)
        return self._happen(event, UnexpectedPDU(f"{pdu_type} has no place in {self._state.name.title()}"))

    # -- the table -----------------------------------------------------------------------------------------------

    def _expect(self, event: Event) -> Action:
        action = TABLE[self._state, event]
        if action is None or (self._used and self._state is State.STA1):
            raise self._misuse(event.name)
        return action

    def _misuse(self, what: str) -> LocalError:
        words = f"{what} has no place in {self._state.name.title()}"
        if self._state >= State.STA8 or (self._used and self._state is State.STA1):
            return Overtaken(words)
        return LocalError(words)

    def _happen(self, event: Event, cause: Cause = None) -> Answer:
        """Make one step of the table: remember what the cause tells, carry out the action, enter the next state.

        All events go through here.
        """
        action = self._expect(event)
        refusal = None
        match action, cause:
            case Action.AE_1, AssociateRQ():
                self._request = cause
            case Action.AE_2, _:
                cause = self._request
            case Action.AE_6, AssociateRQ():
                self._request = cause
                self._peer_maximum_length = cause.user_information.maximum_length
                refusal = check_request(cause)
            case Action.AE_3, AssociateAC():
                self._peer_maximum_length = cause.user_information.maximum_length
                self._contexts = accepted_contexts(self._proposed(), cause)
            case Action.AE_7, AssociateAC():
                self._contexts = accepted_contexts(self._proposed(), cause)
            case Action.AA_7, _:
                self._framing.discard_input()
        answer = carry_out(action, cause, refusal)
        self._enter(action.ends_in(self._role, acceptable=refusal is None))
        return answer

    def _enter(self, state: State) -> None:
        if state in _RECEIVING and self._state not in _RECEIVING:
            self._framing.expect_data(frozenset(self._contexts), self._maximum_length)
        elif state not in _RECEIVING and self._state in _RECEIVING:
            self._framing.refuse_data()
        self._state = state
        self._used = True

    def _proposed(self) -> AssociateRQ:
        assert self._request is not None
        return self._request

    def _check_announced(self, pdu: AssociateRQ | AssociateAC) -> None:
        announced = pdu.user_information.maximum_length
        if announced != self._maximum_length:
            raise LocalError(f"maximum length {announced} would be announced, {self._maximum_length} be held to")
        encode(pdu)
