"""All 247 cells of PS3.8 Table 9-10, each made to happen through the public interface.

The expectation is written down here by state (one column of the standard's table after the other), the actions in
the words of Tables 9-6 to 9-9. Nothing of it comes from the code.
"""

from collections.abc import Callable, Iterator

import pytest
from attrs import evolve

from pdu import (
    PDU,
    TABLE,
    Abort,
    AbortReason,
    AbortSource,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    Event,
    LocalError,
    Overtaken,
    PDataTF,
    Rejection,
    ReleaseRP,
    ReleaseRQ,
    Role,
    Send,
    State,
    UpperLayer,
    decode,
    encode,
)
from pdu.actions import carry_out
from pdu.state import Action
from tests.pdu.coupling import answer_to, feed, request, sent

# state: event number -> action, next state. What is not listed is blank.
EXPECTED = """
Sta1:  1 AE-1 4;  5 AE-5 2
Sta2:  3 AA-1 13; 4 AA-1 13; 6 AE-6 3; 10 AA-1 13; 12 AA-1 13; 13 AA-1 13; 16 AA-2 1; 17 AA-5 1; 18 AA-2 1; 19 AA-1 13
Sta3:  3 AA-8 13; 4 AA-8 13; 6 AA-8 13; 7 AE-7 6; 8 AE-8 13; 10 AA-8 13; 12 AA-8 13; 13 AA-8 13; 15 AA-1 13
Sta3:  16 AA-3 1; 17 AA-4 1; 19 AA-8 13
Sta4:  2 AE-2 5;  15 AA-2 1; 17 AA-4 1
Sta5:  3 AE-3 6;  4 AE-4 1;  6 AA-8 13; 10 AA-8 13; 12 AA-8 13; 13 AA-8 13; 15 AA-1 13; 16 AA-3 1; 17 AA-4 1
Sta5:  19 AA-8 13
Sta6:  3 AA-8 13; 4 AA-8 13; 6 AA-8 13; 9 DT-1 6; 10 DT-2 6; 11 AR-1 7; 12 AR-2 8; 13 AA-8 13; 15 AA-1 13
Sta6:  16 AA-3 1; 17 AA-4 1; 19 AA-8 13
Sta7:  3 AA-8 13; 4 AA-8 13; 6 AA-8 13; 10 AR-6 7; 12 AR-8 9|10; 13 AR-3 1; 15 AA-1 13; 16 AA-3 1; 17 AA-4 1
Sta7:  19 AA-8 13
Sta8:  3 AA-8 13; 4 AA-8 13; 6 AA-8 13; 9 AR-7 8; 10 AA-8 13; 12 AA-8 13; 13 AA-8 13; 14 AR-4 13; 15 AA-1 13
Sta8:  16 AA-3 1; 17 AA-4 1; 19 AA-8 13
Sta9:  3 AA-8 13; 4 AA-8 13; 6 AA-8 13; 10 AA-8 13; 12 AA-8 13; 13 AA-8 13; 14 AR-9 11; 15 AA-1 13; 16 AA-3 1
Sta9:  17 AA-4 1; 19 AA-8 13
Sta10: 3 AA-8 13; 4 AA-8 13; 6 AA-8 13; 10 AA-8 13; 12 AA-8 13; 13 AR-10 12; 15 AA-1 13; 16 AA-3 1; 17 AA-4 1
Sta10: 19 AA-8 13
Sta11: 3 AA-8 13; 4 AA-8 13; 6 AA-8 13; 10 AA-8 13; 12 AA-8 13; 13 AR-3 1; 15 AA-1 13; 16 AA-3 1; 17 AA-4 1
Sta11: 19 AA-8 13
Sta12: 3 AA-8 13; 4 AA-8 13; 6 AA-8 13; 10 AA-8 13; 12 AA-8 13; 13 AA-8 13; 14 AR-4 13; 15 AA-1 13; 16 AA-3 1
Sta12: 17 AA-4 1; 19 AA-8 13
Sta13: 3 AA-6 13; 4 AA-6 13; 6 AA-7 13; 10 AA-6 13; 12 AA-6 13; 13 AA-6 13; 16 AA-2 1; 17 AR-5 1; 18 AA-2 1
Sta13: 19 AA-7 13
"""

# What each action answers, in order. "abort 0" is an A-ABORT of the user, "abort 2" one of the provider.
ANSWERS = {
    "AE-1": "",
    "AE-2": "rq",
    "AE-3": "AssociateConfirm",
    "AE-4": "RejectIndication CloseTransport",
    "AE-5": "StartArtim",
    "AE-6": "StopArtim AssociateIndication",
    "AE-7": "ac",
    "AE-8": "rj StartArtim",
    "DT-1": "data",
    "DT-2": "Fragment",
    "AR-1": "release-rq",
    "AR-2": "ReleaseIndication",
    "AR-3": "ReleaseConfirm CloseTransport",
    "AR-4": "release-rp StartArtim",
    "AR-5": "StopArtim CloseTransport",
    "AR-6": "Fragment",
    "AR-7": "data",
    "AR-8": "ReleaseIndication",
    "AR-9": "release-rp",
    "AR-10": "ReleaseConfirm",
    "AA-1": "abort-0 StartArtim",
    "AA-2": "StopArtim CloseTransport",
    "AA-3": "AbortIndication CloseTransport",
    "AA-4": "TransportClosed CloseTransport",
    "AA-5": "StopArtim CloseTransport",
    "AA-6": "",
    "AA-7": "abort-2",
    "AA-8": "abort-2 ProviderAbort StartArtim",
}

REACHED_BY = {
    Role.REQUESTOR: (1, 4, 5, 6, 7, 8, 9, 11, 13),
    Role.ACCEPTOR: (1, 2, 3, 6, 7, 8, 10, 12, 13),
}


def expected_cells() -> dict[tuple[int, int], tuple[str, str]]:
    cells: dict[tuple[int, int], tuple[str, str]] = {}
    for line in EXPECTED.strip().splitlines():
        state, listed = line.split(":")
        for cell in listed.split(";"):
            event, action, following = cell.split()
            cells[int(state.removeprefix("Sta")), int(event)] = (action, following)
    return cells


CELLS = expected_cells()

RQ = request()
AC = answer_to(RQ)
RJ = AssociateRJ.because(Rejection.TEMPORARY_CONGESTION)
DATA = b"\x04\x00\x00\x00\x00\x08\x00\x00\x00\x04\x01\x03ok"


def engine_in(state: int, role: Role) -> UpperLayer:
    """An engine that came to `state` on a legitimate way."""
    engine = UpperLayer(role=role)
    release_rq, release_rp = encode(ReleaseRQ()), encode(ReleaseRP())
    connected: list[Callable[[], object]] = [engine.transport_connected]
    associated: list[Callable[[], object]]
    if role is Role.REQUESTOR:
        connected = [lambda: engine.associate(RQ), engine.transport_connected]
        associated = [*connected, lambda: feed(engine, encode(AC))]
    else:
        associated = [*connected, lambda: feed(engine, encode(RQ)), lambda: engine.accept(AC)]
    colliding = [*associated, engine.release, lambda: feed(engine, release_rq)]
    ways: dict[int, list[Callable[[], object]]] = {
        1: [],
        2: connected,
        3: associated[:2],
        4: connected[:1],
        5: connected,
        6: associated,
        7: [*associated, engine.release],
        8: [*associated, lambda: feed(engine, release_rq)],
        9: colliding,
        10: colliding,
        11: [*colliding, engine.respond_release],
        12: [*colliding, lambda: feed(engine, release_rp)],
        13: [*associated, engine.abort],
    }
    for step in ways[state]:
        step()
    assert engine.state == state
    return engine


def make_happen(engine: UpperLayer, event: Event) -> object:
    """Bring the event about, by primitive or by bytes; what the engine answered."""
    received = {
        Event.ASSOCIATE_AC_PDU: encode(AC),
        Event.ASSOCIATE_RJ_PDU: encode(RJ),
        Event.ASSOCIATE_RQ_PDU: encode(RQ),
        Event.P_DATA_TF_PDU: DATA,
        Event.RELEASE_RQ_PDU: encode(ReleaseRQ()),
        Event.RELEASE_RP_PDU: encode(ReleaseRP()),
        Event.ABORT_PDU: encode(Abort()),
        Event.INVALID_PDU: b"GET / HTTP/1.1\r\n\r\n",
    }
    primitives: dict[Event, Callable[[], object]] = {
        Event.ASSOCIATE_REQUEST: lambda: engine.associate(RQ),
        Event.ASSOCIATE_RESPONSE_ACCEPT: lambda: engine.accept(AC),
        Event.ASSOCIATE_RESPONSE_REJECT: lambda: engine.reject(RJ),
        Event.P_DATA_REQUEST: lambda: [Send(engine.send_data(1, b"ok", command=True, last=True))],
        Event.RELEASE_REQUEST: engine.release,
        Event.RELEASE_RESPONSE: engine.respond_release,
        Event.ABORT_REQUEST: engine.abort,
        Event.TRANSPORT_CLOSED: engine.transport_closed,
        Event.ARTIM_EXPIRED: engine.artim_expired,
    }
    connected = {
        Role.REQUESTOR: Event.TRANSPORT_CONNECT_CONFIRM,
        Role.ACCEPTOR: Event.TRANSPORT_CONNECT_INDICATION,
    }
    if event is connected[engine.role]:
        return engine.transport_connected()
    if event in connected.values():
        return engine._happen(event)  # there is no public way to ask for the other role's
    if event in primitives:
        return primitives[event]()
    engine.writable()[: len(received[event])] = received[event]
    return engine.received(len(received[event]))


def in_words(answer: object) -> Iterator[str]:
    assert isinstance(answer, list)
    for each in answer:
        if not isinstance(each, Send):
            yield type(each).__name__
            continue
        match decode(b"".join(bytes(buffer) for buffer in each.buffers)):
            case Abort(source=source):
                yield f"abort-{source}"
            case ReleaseRQ():
                yield "release-rq"
            case ReleaseRP():
                yield "release-rp"
            case PDataTF():
                yield "data"
            case AssociateRQ():
                yield "rq"
            case AssociateAC():
                yield "ac"
            case AssociateRJ():
                yield "rj"


def visits() -> list[tuple[Role, State, Event]]:
    """Every event in every state that a role can come to; but it is the requestor who asks (Evt1), and the acceptor
    who is connected to (Evt5)."""
    return [
        (role, State(state), event)
        for role, states in REACHED_BY.items()
        for state in states
        for event in Event
        if (role, state, event)
        not in (
            (Role.ACCEPTOR, State.STA1, Event.ASSOCIATE_REQUEST),
            (Role.REQUESTOR, State.STA1, Event.TRANSPORT_CONNECT_INDICATION),
        )
    ]


def test_the_table_is_that_of_the_standard_in_all_247_cells() -> None:
    table = {(int(state), int(event)): action and action.standard_name for (state, event), action in TABLE.items()}
    assert len(table) == 13 * 19 == 247
    assert table == {cell: CELLS.get(cell, (None,))[0] for cell in table}


def test_all_247_cells_are_visited() -> None:
    assert {(state, event) for _, state, event in visits()} == set(TABLE)
    assert len(TABLE) == 247


@pytest.mark.parametrize(("role", "state", "event"), visits(), ids=lambda value: value.name.lower().replace("_", "-"))
def test_cell(role: Role, state: State, event: Event) -> None:
    engine = engine_in(state, role)
    if (state, event) not in CELLS:
        with pytest.raises(LocalError):
            make_happen(engine, event)
        assert engine.state is state
        return
    action, following = CELLS[state, event]
    expected = ANSWERS[action].split()
    if action == "AA-1" and event is not Event.ABORT_REQUEST:
        expected.insert(1, "ProviderAbort")  # ours: tells the log what came instead of a request
    assert list(in_words(make_happen(engine, event))) == expected
    by_role = following.split("|")
    assert engine.state == int(by_role[0] if role is Role.REQUESTOR else by_role[-1])


def test_a_request_that_the_engine_itself_refuses_goes_from_sta2_to_sta13() -> None:
    """The other end of AE-6."""
    engine = engine_in(2, Role.ACCEPTOR)
    answer = feed(engine, encode(evolve(RQ, protocol_version=2)))
    assert list(in_words(answer)) == ["StopArtim", "rj", "RequestRefused", "StartArtim"]
    assert engine.state is State.STA13


def test_an_acceptor_does_not_associate() -> None:
    with pytest.raises(LocalError, match="only a requestor"):
        UpperLayer(role=Role.ACCEPTOR).associate(RQ)


def test_a_local_abort_says_what_it_is_told_to() -> None:
    engine = engine_in(6, Role.ACCEPTOR)
    answer = engine.abort(AbortSource.PROVIDER, AbortReason.UNRECOGNIZED_PDU_PARAMETER)
    assert sent(answer) == b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x04"


def test_an_action_without_its_cause_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="AE-7 cannot be caused by None"):
        carry_out(Action.AE_7, None)


@pytest.mark.parametrize("role", Role)
def test_one_engine_serves_one_connection(role: Role) -> None:
    engine = engine_in(6, role)
    engine.transport_closed()
    assert engine.state is State.STA1
    for call in (engine.transport_connected, engine.transport_closed, engine.abort, lambda: engine.received(0)):
        with pytest.raises(Overtaken):
            call()


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("peers_word", [Abort(), ReleaseRQ()], ids=["abort", "release"])
def test_a_primitive_that_the_peer_forestalled_is_told_apart_from_a_bug(role: Role, peers_word: PDU) -> None:
    engine = engine_in(6, role)
    with pytest.raises(LocalError) as caught:
        engine.respond_release()
    assert not isinstance(caught.value, Overtaken)
    feed(engine, encode(peers_word))
    with pytest.raises(Overtaken):
        engine.release()
