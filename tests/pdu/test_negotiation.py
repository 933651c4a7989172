"""Who accepts what."""

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from pdu import (
    AssociateAC,
    AssociateRQ,
    AsynchronousOperationsWindow,
    ContextResult,
    InvalidParameterValue,
    PresentationContext,
    RoleSelection,
    accept_roles,
    accept_window,
    accepted_contexts,
    check_accept,
    check_request,
    fault_in_ae_title,
    negotiate,
    prefer,
)
from tests.pdu.coupling import CT, EXPLICIT, IMPLICIT, JPEG_2000, answer_to, request
from tests.pdu.strategies import accepts, proposals, requests


def context(id_: int, *transfer_syntaxes: str, abstract_syntax: str = CT) -> PresentationContext:
    return PresentationContext(id=id_, abstract_syntax=abstract_syntax, transfer_syntaxes=transfer_syntaxes)


@given(proposals, st.sampled_from([*ContextResult][1:]))
def test_every_proposal_is_answered_in_order(proposed: tuple[PresentationContext, ...], refusal: ContextResult) -> None:
    results = negotiate(proposed, lambda each: prefer(each.transfer_syntaxes, lambda _: True) or refusal)
    assert [each.id for each in results] == [each.id for each in proposed]
    for each, result in zip(proposed, results, strict=True):
        if each.transfer_syntaxes:
            assert (result.result, result.transfer_syntax) == (0, each.transfer_syntaxes[0])
        else:
            assert (result.result, result.transfer_syntax) == (refusal, "")


def test_a_refused_proposal_repeats_its_first_transfer_syntax() -> None:
    """PS3.8 9.3.3.2: the item is there, though it is not significant; some peers insist on a UID in it."""
    [result] = negotiate([context(1, JPEG_2000, IMPLICIT)], lambda _: ContextResult.USER_REJECTION)
    assert (result.result, result.transfer_syntax) == (ContextResult.USER_REJECTION, JPEG_2000)


def test_the_same_abstract_syntax_may_be_proposed_again_and_is_judged_each_time() -> None:
    proposed = [context(1, JPEG_2000), context(3, EXPLICIT), context(5, "1.2.3")]
    results = negotiate(
        proposed,
        lambda each: (
            prefer(each.transfer_syntaxes, lambda uid: uid != "1.2.3") or ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED
        ),
    )
    assert [(each.result, each.transfer_syntax) for each in results] == [
        (0, JPEG_2000),
        (0, EXPLICIT),
        (4, "1.2.3"),
    ]


@pytest.mark.parametrize(
    ("preference", "chosen"),
    [((), JPEG_2000), ((EXPLICIT,), EXPLICIT), ((IMPLICIT, EXPLICIT), EXPLICIT), (("1.2.3",), JPEG_2000)],
)
def test_the_proposers_order_wins_unless_a_preference_is_given(preference: tuple[str, ...], chosen: str) -> None:
    assert prefer((JPEG_2000, EXPLICIT, "1.2.3"), lambda uid: uid != "1.2.3", preference) == chosen


def test_nothing_acceptable_is_none() -> None:
    assert prefer((JPEG_2000,), lambda _: False, (JPEG_2000,)) is None
    assert prefer((), lambda _: True) is None


# -- roles ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offered", [(False, False), (False, True), (True, False), (True, True)])
@pytest.mark.parametrize("wanted", [(False, False), (False, True), (True, False), (True, True)])
def test_a_role_is_granted_only_where_it_is_offered_and_wanted(
    offered: tuple[bool, bool], wanted: tuple[bool, bool]
) -> None:
    """PS3.7 Table D.3-9b."""
    offer = RoleSelection(sop_class_uid=CT, scu_role=offered[0], scp_role=offered[1])
    [answer] = accept_roles([offer], lambda _: wanted)
    assert answer.sop_class_uid == CT
    assert answer.scu_role == (offered[0] and wanted[0])
    assert answer.scp_role == (offered[1] and wanted[1])


def test_of_several_offers_for_one_sop_class_the_first_counts() -> None:
    offers = [
        RoleSelection(sop_class_uid=CT, scu_role=True, scp_role=False),
        RoleSelection(sop_class_uid="1.2", scu_role=False, scp_role=True),
        RoleSelection(sop_class_uid=CT, scu_role=True, scp_role=True),
    ]
    assert accept_roles(offers, lambda _: (True, True)) == tuple(offers[:2])


# -- asynchronous operations window --------------------------------------------------------------------------------

window = AsynchronousOperationsWindow


@pytest.mark.parametrize(
    ("proposed", "answered"),
    [
        (window(invoked=1, performed=1), window(invoked=1, performed=1)),
        (window(invoked=0, performed=0), window(invoked=8, performed=1)),
        (window(invoked=65535, performed=65535), window(invoked=8, performed=1)),
        (window(invoked=5, performed=0), window(invoked=5, performed=1)),
    ],
)
def test_a_window_is_never_wider_than_proposed_or_allowed(
    proposed: AsynchronousOperationsWindow, answered: AsynchronousOperationsWindow
) -> None:
    assert accept_window(proposed, window(invoked=8, performed=1)) == answered


def test_without_a_proposed_window_none_is_answered() -> None:
    assert accept_window(None, window(invoked=8, performed=1)) is None


def test_no_limit_on_both_sides_stays_no_limit() -> None:
    unlimited = window(invoked=0, performed=0)
    assert accept_window(unlimited, unlimited) == unlimited


# -- what the engine insists on ------------------------------------------------------------------------------------


@pytest.mark.parametrize("title", ["A", "CT 1", "SIXTEEN-LONG-AET", "RÖNTGEN", "RAD/CT", "A..B"])
def test_a_title_may_be_any_printable_text(title: str) -> None:
    assert fault_in_ae_title(title) is None


@pytest.mark.parametrize(
    "title", ["", "   ", "..", "../", "a/..", "a/../b", "\x1b", "\r\n", "\t", "\x7f", "\x80", "A\\B", "\x00"]
)
def test_a_title_that_is_blank_or_does_harm_is_none(title: str) -> None:
    fault = fault_in_ae_title(title)
    assert fault is not None
    assert fault.isprintable()
    assert fault.isascii()


def test_a_usual_request_is_let_through() -> None:
    assert check_request(request()) is None
    assert check_request(evolve(request(), protocol_version=0xFFFF)) is None


@given(requests)
def test_any_request_is_judged_in_printable_words(rq: AssociateRQ) -> None:
    refusal = check_request(rq)
    assert refusal is None or (refusal.why.isascii() and refusal.why.isprintable())


def test_a_usual_answer_is_trusted_as_it_is() -> None:
    rq = request()
    ac = answer_to(rq)
    assert check_accept(rq, ac) == ac
    assert {each.id: each.transfer_syntax for each in accepted_contexts(rq, ac).values()} == {
        1: IMPLICIT,
        3: JPEG_2000,
    }


@given(proposals, accepts)
def test_only_what_was_proposed_can_come_out_as_accepted(
    proposed: tuple[PresentationContext, ...], ac: AssociateAC
) -> None:
    rq = request(contexts=proposed)
    try:
        judged = check_accept(rq, ac)
    except InvalidParameterValue:
        return
    offers = {each.id: each.transfer_syntaxes for each in proposed}
    for each in accepted_contexts(rq, judged).values():
        assert each.transfer_syntax in offers[each.id]
