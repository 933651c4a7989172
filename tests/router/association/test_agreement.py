"""Whatever an A-ASSOCIATE-RQ asks for, it is answered: the acceptor never crashes, and its answer stays short."""

from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from pdu import (
    AssociateAC,
    AssociateIndication,
    AssociateRQ,
    AsynchronousOperationsWindow,
    ContextResult,
    PresentationContext,
    RequestRefused,
    Role,
    RoleSelection,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    State,
    UpperLayer,
    UserIdentity,
    encode,
)
from router.association.agreement import Agreement, agree
from router.association.describe import describe_contexts
from router.dimse import CommandField, Response
from router.services import SCP, SERVICES, NegotiatedTerms, Proposal, Replies, Request, Sender, Service, parse_config
from router.services.storage import StorageSettings
from router.spool import Incoming
from tests.pdu.strategies import requests
from tests.support.harness import (
    CT,
    IMPLICIT,
    PATIENCE,
    VERIFICATION,
    Modality,
    associate_rq,
    configuration,
    eventually,
    running_router,
)

LONGEST_ANSWER = 65_536
"""Bytes: 128 contexts and the roles of their SOP classes, with UIDs of 64 characters, take less than half of it."""
COMMITMENT = "1.2.840.10008.1.20.1"
PRESENTATION_LUT = "1.2.840.10008.5.1.1.23"
EXPLICIT = "1.2.840.10008.1.2.1"
JPEG = "1.2.840.10008.1.2.4.50"


def services() -> tuple[Service, ...]:
    """What a router has by its default configuration, as far as presentation contexts are judged: none of that needs
    a spool or a state."""
    config = parse_config("", Path())

    def made(cls: Any) -> Any:
        service = object.__new__(cls)
        tables = cls.options.tables.values()
        service._settings = next(map(config.options.__getitem__, tables), config.options[StorageSettings])
        service._routes = ()  # of queries: none
        service._has_retrieves = False
        return service

    return tuple(made(cls) for cls in SERVICES)


def answer(request: AssociateRQ) -> AssociateAC | None:
    """What the engine and the negotiation make of a request, encoded as the peer gets it; None where the engine
    refuses the request itself, or it is too long for it."""
    config = parse_config("", Path())
    engine = UpperLayer(role=Role.ACCEPTOR, maximum_length=config.listeners[0].maximum_pdu_length, buffer_size=1 << 20)
    engine.transport_connected()
    data = encode(request)
    engine.writable()[: len(data)] = data
    indications = engine.received(len(data))
    match [each for each in indications if isinstance(each, AssociateIndication | RequestRefused)]:
        case [AssociateIndication(request=heard)]:
            requestor = Sender(
                calling_ae=heard.calling_ae_title,
                called_ae=heard.called_ae_title,
                peer="127.0.0.1",
                listener=config.listeners[0],
            )
            agreement = agree(heard, config, requestor, services())
            engine.accept(agreement.accept)
            assert engine.state is State.STA6
            assert set(agreement.contexts) <= set(agreement.services)
            return agreement.accept
        case _:
            assert engine.state is State.STA13
            return None


def sop_class(number: int) -> str:
    return f"1.2.{10**54 + number}"


def hostile(contexts: int = 1, **information: Any) -> AssociateRQ:
    request = associate_rq(*((sop_class(number), (IMPLICIT,)) for number in range(contexts)))
    return attrs.evolve(request, user_information=attrs.evolve(request.user_information, **information))


def roles(count: int, first: int = 0) -> tuple[RoleSelection, ...]:
    return tuple(
        RoleSelection(sop_class_uid=sop_class(first + number), scu_role=True, scp_role=True) for number in range(count)
    )


EXTENDED = SOPClassExtendedNegotiation(sop_class_uid=sop_class(1), information=bytes(16))
COMMON = SOPClassCommonExtendedNegotiation(
    sop_class_uid=sop_class(1), service_class_uid="1.2.840.10008.4.2", related=tuple(map(sop_class, range(4)))
)
HOSTILE = {
    "roles of classes that are not proposed": hostile(
        implementation_class_uid="1",
        asynchronous_operations_window=AsynchronousOperationsWindow(invoked=2, performed=1),
        roles=roles(977),
    ),
    "a role for each context": hostile(128, roles=roles(128)),
    "one role, hundreds of times": hostile(roles=roles(1) * 880),
    "roles, other ones first": hostile(128, roles=roles(700, 128) + roles(128)),
    "hundreds of extended negotiations": hostile(extended=(EXTENDED,) * 700),
    "hundreds of common extended negotiations": hostile(common_extended=(COMMON,) * 150),
    "one SOP class, 128 contexts": associate_rq(*[(CT, (IMPLICIT,))] * 128),
    "a context with thousands of transfer syntaxes": associate_rq((CT, tuple(map(sop_class, range(900))))),
    "no transfer syntax at all": associate_rq((CT, ())),
    "128 refused contexts with the longest transfer syntax": associate_rq(*[("1", ("9" * 3_000,))] * 128),
    "an empty window": hostile(asynchronous_operations_window=AsynchronousOperationsWindow(invoked=0, performed=0)),
    "the widest window": hostile(
        asynchronous_operations_window=AsynchronousOperationsWindow(invoked=0xFFFF, performed=0xFFFF)
    ),
    "a long identity": hostile(
        user_identity=UserIdentity(
            identity_type=255, positive_response_requested=True, primary_field=bytes(30_000), secondary_field=b""
        )
    ),
    "both roles of storage commitment": hostile(
        roles=(RoleSelection(sop_class_uid=COMMITMENT, scu_role=True, scp_role=True),)
    ),
}


@pytest.mark.parametrize("request_", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_request_has_a_short_answer(request_: AssociateRQ) -> None:
    accept = answer(request_)
    assert accept is None or len(encode(accept)) < LONGEST_ANSWER


def test_the_words_for_the_log_stay_short_whatever_was_proposed() -> None:
    context = PresentationContext(id=1, abstract_syntax=CT, transfer_syntaxes=(IMPLICIT,) * 900)
    (words,) = describe_contexts([context], [])
    assert len(words) < 2000
    assert "and 850 more" in words


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(requests, st.integers(0, 300), st.integers(0, 300), st.booleans())
def test_any_request_is_answered(request_: AssociateRQ, roles_: int, extended: int, shared: bool) -> None:
    many = (
        roles(roles_)
        if not shared
        else tuple(
            attrs.evolve(role, sop_class_uid=context.abstract_syntax)
            for role in roles(roles_)
            for context in request_.presentation_contexts[:1]
        )
    )
    known = attrs.evolve(
        request_,
        called_ae_title="ROUTER",
        calling_ae_title="MODALITY",
        application_context="1.2.840.10008.3.1.1.1",
        user_information=attrs.evolve(
            request_.user_information, maximum_length=0, roles=many, extended=(EXTENDED,) * extended, unknown=()
        ),
    )
    accept = answer(known)
    if accept is not None:
        assert len(encode(accept)) < LONGEST_ANSWER
        assert [result.id for result in accept.presentation_contexts] == [
            context.id for context in known.presentation_contexts
        ]


def test_a_role_is_answered_for_each_sop_class_that_is_proposed_and_once() -> None:
    accept = answer(hostile(2, roles=roles(3) + roles(3)))
    assert accept is not None
    assert [(role.sop_class_uid, role.scu_role, role.scp_role) for role in accept.user_information.roles] == [
        (sop_class(0), True, False),
        (sop_class(1), True, False),
    ]


@pytest.mark.parametrize("name", ["roles of classes that are not proposed", "a role for each context"])
async def test_hundreds_of_role_selections_leave_a_working_association(tmp_path: Path, name: str) -> None:
    with capture_logs() as logs:
        async with running_router(configuration(tmp_path)) as router, Modality.connected(router.port) as modality:
            await modality.say(HOSTILE[name])
            assert isinstance(await modality.hear(), AssociateAC)
    assert not [line for line in logs if line["log_level"] == "error"]


async def test_a_silent_connection_at_a_stop_is_just_closed(tmp_path: Path) -> None:
    """Table 9-10 has no A-ABORT in Sta2: a health check that is connected when the router stops leaves no error."""
    with capture_logs() as logs:
        async with running_router(configuration(tmp_path)) as router:
            silent = await trio.open_tcp_stream("127.0.0.1", router.port)

            async def accepted() -> bool:
                return bool((await router.router.status())["associations"])

            await eventually(accepted)
        async with silent:
            with trio.fail_after(PATIENCE):
                assert await silent.receive_some() == b""
    assert not [line for line in logs if line["log_level"] == "error"]


async def test_what_an_acceptor_raises_before_it_runs_ends_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_router(configuration(tmp_path)) as router:
        with monkeypatch.context() as patch, capture_logs() as logs:

            def out_of_memory(*_: object) -> None:
                raise OSError(12, "Cannot allocate memory")

            patch.setattr("router.association.transport.tune", out_of_memory)
            async with Modality.connected(router.port) as unlucky:
                assert await unlucky.hear() is None
        assert [line["event"] for line in logs if line["log_level"] == "error"] == ["association crashed"]
        async with Modality.connected(router.port) as modality:
            assert isinstance(await modality.associate((VERIFICATION, (IMPLICIT,))), AssociateAC)


class Printing(SCP):
    """Performs N-CREATE on Presentation LUT, on which Storage performs C-STORE, for one calling AE title."""

    name = "printing"
    requests = frozenset({CommandField.N_CREATE_RQ})

    def __init__(self) -> None:
        self.proposals: list[Proposal] = []

    def negotiate(self, proposal: Proposal) -> str | ContextResult | None:
        self.proposals.append(proposal)
        if proposal.requestor.calling_ae != "PRINTS" or proposal.abstract_syntax != PRESENTATION_LUT:
            return None
        known = [uid for uid in (EXPLICIT, IMPLICIT) if uid in proposal.transfer_syntaxes]
        return known[0] if known else ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED

    def roles(self, proposal: Proposal) -> tuple[bool, bool]:
        return True, True

    def extended(self, proposal: Proposal) -> bytes | None:
        return bytes(1000)

    async def perform(self, request: Request, data: Incoming | None, replies: Replies) -> Response:
        raise NotImplementedError


def agreed(printing: Printing, calling: str, *syntaxes: str, **information: Any) -> Agreement:
    config = parse_config("", Path())
    request = associate_rq((PRESENTATION_LUT, syntaxes), calling=calling)
    request = attrs.evolve(request, user_information=attrs.evolve(request.user_information, **information))
    requestor = Sender(calling_ae=calling, called_ae="ROUTER", peer="10.0.0.9", listener=config.listeners[0])
    return agree(request, config, requestor, (printing, *services()))


@pytest.mark.parametrize(
    ("calling", "syntaxes", "chosen", "names"),
    [
        ("PRINTS", (IMPLICIT, EXPLICIT), EXPLICIT, ["printing", "storage"]),
        ("PRINTS", (JPEG,), JPEG, ["storage"]),
        ("STORES", (IMPLICIT, EXPLICIT), IMPLICIT, ["storage"]),
    ],
)
def test_services_share_a_context_if_all_of_them_accept_its_transfer_syntax(
    calling: str, syntaxes: tuple[str, ...], chosen: str, names: list[str]
) -> None:
    agreement = agreed(Printing(), calling, *syntaxes)
    assert agreement.contexts[1].transfer_syntax == chosen
    assert [service.name for service in agreement.services[1]] == names


def test_a_service_sees_all_that_its_requestor_says_about_a_sop_class() -> None:
    role = RoleSelection(sop_class_uid=PRESENTATION_LUT, scu_role=True, scp_role=True)
    extended = SOPClassExtendedNegotiation(sop_class_uid=PRESENTATION_LUT, information=b"\1\2")
    common = attrs.evolve(COMMON, sop_class_uid=PRESENTATION_LUT)
    printing = Printing()
    agreement = agreed(
        printing, "PRINTS", IMPLICIT, roles=(role,), extended=(extended, EXTENDED), common_extended=(common, COMMON)
    )
    proposal = printing.proposals[0]
    assert (proposal.role, proposal.extended, proposal.common_extended) == (role, b"\1\2", common)
    assert (proposal.requestor.calling_ae, proposal.requestor.peer) == ("PRINTS", "10.0.0.9")
    terms = agreement.terms[PRESENTATION_LUT]
    assert (terms.role, terms.extended, terms.common_extended) == (role, bytes(256), common)
    assert [item.sop_class_uid for item in agreement.accept.user_information.extended] == [PRESENTATION_LUT]


def test_extended_negotiation_that_is_not_proposed_is_not_answered() -> None:
    agreement = agreed(Printing(), "PRINTS", IMPLICIT)
    assert agreement.accept.user_information.extended == ()
    assert agreement.terms[PRESENTATION_LUT] == NegotiatedTerms()
