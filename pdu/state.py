"""PS3.8 9.2: the state machine as one total table.

An association passes through thirteen states. Establishment: Sta1 idle; Sta2 connected, waiting for the request; Sta3
the service user has the request; Sta4 connecting; Sta5 request sent, waiting for the answer. Sta6 is data transfer.
Release: Sta7 our release sent; Sta8 the service user has the peer's release; Sta9 to Sta12 both sides requested it at
the same time: the requestor of the association goes 9, 11 (respond, then wait for the response), its acceptor 10, 12
(wait, then respond); Sta13 waiting for the connection to close.

Nineteen events move it: primitives of the service user, PDUs, the transport, the timer. A cell names an action; an
action names the state it ends in. A dash marks an event that cannot occur in that state: a caller that causes it gets
a `LocalError`. Not here: the effects of actions (`actions`), invalid PDUs (`framing`, `reader`), time.
"""

from collections.abc import Mapping
from enum import Enum, IntEnum
from types import MappingProxyType


class Role(Enum):
    """The side of the association. It matters for `associate` and in a release collision only."""

    REQUESTOR = "requestor"
    ACCEPTOR = "acceptor"


class State(IntEnum):
    """PS3.8 Tables 9-1 to 9-5."""

    STA1 = 1
    STA2 = 2
    STA3 = 3
    STA4 = 4
    STA5 = 5
    STA6 = 6
    STA7 = 7
    STA8 = 8
    STA9 = 9
    STA10 = 10
    STA11 = 11
    STA12 = 12
    STA13 = 13


class Event(IntEnum):
    """PS3.8 Table 9-10, first column."""

    ASSOCIATE_REQUEST = 1
    TRANSPORT_CONNECT_CONFIRM = 2
    ASSOCIATE_AC_PDU = 3
    ASSOCIATE_RJ_PDU = 4
    TRANSPORT_CONNECT_INDICATION = 5
    ASSOCIATE_RQ_PDU = 6
    ASSOCIATE_RESPONSE_ACCEPT = 7
    ASSOCIATE_RESPONSE_REJECT = 8
    P_DATA_REQUEST = 9
    P_DATA_TF_PDU = 10
    RELEASE_REQUEST = 11
    RELEASE_RQ_PDU = 12
    RELEASE_RP_PDU = 13
    RELEASE_RESPONSE = 14
    ABORT_REQUEST = 15
    ABORT_PDU = 16
    TRANSPORT_CLOSED = 17
    ARTIM_EXPIRED = 18
    INVALID_PDU = 19


class Action(Enum):
    """PS3.8 Tables 9-6 to 9-9: the state that each action ends in. AE-6 and AR-8 have two: see `ends_in`."""

    AE_1 = "AE-1", State.STA4
    AE_2 = "AE-2", State.STA5
    AE_3 = "AE-3", State.STA6
    AE_4 = "AE-4", State.STA1
    AE_5 = "AE-5", State.STA2
    AE_6 = "AE-6", State.STA3
    AE_7 = "AE-7", State.STA6
    AE_8 = "AE-8", State.STA13
    DT_1 = "DT-1", State.STA6
    DT_2 = "DT-2", State.STA6
    AR_1 = "AR-1", State.STA7
    AR_2 = "AR-2", State.STA8
    AR_3 = "AR-3", State.STA1
    AR_4 = "AR-4", State.STA13
    AR_5 = "AR-5", State.STA1
    AR_6 = "AR-6", State.STA7
    AR_7 = "AR-7", State.STA8
    AR_8 = "AR-8", State.STA9
    AR_9 = "AR-9", State.STA11
    AR_10 = "AR-10", State.STA12
    AA_1 = "AA-1", State.STA13
    AA_2 = "AA-2", State.STA1
    AA_3 = "AA-3", State.STA1
    AA_4 = "AA-4", State.STA1
    AA_5 = "AA-5", State.STA1
    AA_6 = "AA-6", State.STA13
    AA_7 = "AA-7", State.STA13
    AA_8 = "AA-8", State.STA13

    def __init__(self, standard_name: str, end: State) -> None:
        self.standard_name = standard_name
        self._end = end

    def ends_in(self, role: Role, *, acceptable: bool = True) -> State:
        """Return the next state. `acceptable`: the engine itself accepts the request (AE-6)."""
        if self is Action.AE_6 and not acceptable:
            return State.STA13
        if self is Action.AR_8 and role is Role.ACCEPTOR:
            return State.STA10
        return self._end


_TABLE_9_10 = """
        Sta1  Sta2  Sta3  Sta4  Sta5  Sta6  Sta7  Sta8  Sta9  Sta10 Sta11 Sta12 Sta13
Evt1    AE-1  -     -     -     -     -     -     -     -     -     -     -     -
Evt2    -     -     -     AE-2  -     -     -     -     -     -     -     -     -
Evt3    -     AA-1  AA-8  -     AE-3  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-6
Evt4    -     AA-1  AA-8  -     AE-4  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-6
Evt5    AE-5  -     -     -     -     -     -     -     -     -     -     -     -
Evt6    -     AE-6  AA-8  -     AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-7
Evt7    -     -     AE-7  -     -     -     -     -     -     -     -     -     -
Evt8    -     -     AE-8  -     -     -     -     -     -     -     -     -     -
Evt9    -     -     -     -     -     DT-1  -     AR-7  -     -     -     -     -
Evt10   -     AA-1  AA-8  -     AA-8  DT-2  AR-6  AA-8  AA-8  AA-8  AA-8  AA-8  AA-6
Evt11   -     -     -     -     -     AR-1  -     -     -     -     -     -     -
Evt12   -     AA-1  AA-8  -     AA-8  AR-2  AR-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-6
Evt13   -     AA-1  AA-8  -     AA-8  AA-8  AR-3  AA-8  AA-8  AR-10 AR-3  AA-8  AA-6
Evt14   -     -     -     -     -     -     -     AR-4  AR-9  -     -     AR-4  -
Evt15   -     -     AA-1  AA-2  AA-1  AA-1  AA-1  AA-1  AA-1  AA-1  AA-1  AA-1  -
Evt16   -     AA-2  AA-3  -     AA-3  AA-3  AA-3  AA-3  AA-3  AA-3  AA-3  AA-3  AA-2
Evt17   -     AA-5  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AR-5
Evt18   -     AA-2  -     -     -     -     -     -     -     -     -     -     AA-2
Evt19   -     AA-1  AA-8  -     AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-7
"""


def _parsed(table: str) -> Mapping[tuple[State, Event], Action | None]:
    actions = {action.standard_name: action for action in Action}
    cells: dict[tuple[State, Event], Action | None] = {}
    for event, row in zip(Event, table.strip().splitlines()[1:], strict=True):
        for state, cell in zip(State, row.split()[1:], strict=True):
            cells[state, event] = None if cell == "-" else actions[cell]
    return MappingProxyType(cells)


TABLE: Mapping[tuple[State, Event], Action | None] = _parsed(_TABLE_9_10)
"""The action of each of the 247 cells; None for a cell that the standard leaves blank."""
