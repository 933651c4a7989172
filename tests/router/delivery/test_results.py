"""Whose fault the end of an attempt is, and that no words of the peer's are in the reason."""

import attrs
import pytest

from pdu import AssociateRJ
from router.association import Aborted, NoResponse, NotConnected, Rejected
from router.delivery import results as delivery_results
from router.delivery.retry import CRASHES_TO_HOLD
from router.dimse import Response, response_to
from router.model import Cause, Fault, Result
from router.remote import results as remote_results
from router.spool import DamagedMessage, OutOfSpace
from tests.support.deliveries import waiting
from tests.support.harness import store_rq


@pytest.mark.parametrize(
    ("error", "responded", "cause", "fault"),
    [
        (Aborted("x"), False, Cause.ABORTED, Fault.SITE),
        (Aborted("x"), True, Cause.ABORTED, Fault.DELIVERY),
        (NoResponse("x"), False, Cause.TIMED_OUT, Fault.SITE),
        (NoResponse("x"), True, Cause.TIMED_OUT, Fault.SITE),
    ],
)
def test_an_association_that_has_carried_responses_is_not_the_sites_fault(
    error: Aborted | NoResponse, responded: bool, cause: Cause, fault: Fault
) -> None:
    for sent in (True, False):
        end = delivery_results.of_lost_channel(remote_results.channel_lost(error), responded=responded, sent=sent)
        assert (end.result, end.cause, end.fault, end.unanswered) == (Result.RETRY, cause, fault, sent)


def test_without_an_association_the_fault_is_the_sites_whatever_the_rejection_says() -> None:
    rejection = AssociateRJ(result=1, source=1, reason=7)
    for error, cause in ((NotConnected("x"), Cause.UNREACHABLE), (Rejected("x", rejection), Cause.REJECTED)):
        end = remote_results.no_channel(error).result
        assert (end.result, end.cause, end.fault, end.unanswered) == (Result.RETRY, cause, Fault.SITE, False)


def test_a_comment_of_the_peers_is_a_field_of_its_own() -> None:
    response = Response(response_to(store_rq("1.2.3"), 0xA700, error_comment="no room for Doe^Jane"))
    end = remote_results.of_response(Result.RETRY, response, "storage")
    assert (end.status, end.comment, end.fault) == (0xA700, "no room for Doe^Jane", Fault.DELIVERY)
    assert "Doe" not in end.reason


def test_a_message_that_cannot_be_read_is_held_unless_the_disk_is_full() -> None:
    assert delivery_results.of_spool_error(DamagedMessage("x")).result is Result.HELD
    assert delivery_results.of_spool_error(OutOfSpace("x")).result is Result.RETRY


def test_crashes_hold_a_message_after_a_few() -> None:
    for crashes in range(CRASHES_TO_HOLD):
        delivery = attrs.evolve(waiting(1), crashes=crashes)
        end = delivery_results.of_crash(delivery, ValueError("garbage"), sent=False)
        assert end.cause is Cause.CRASHED
        assert (end.result is Result.HELD) == (crashes + 1 == CRASHES_TO_HOLD)
        assert "ValueError('garbage')" in end.reason


def test_what_is_given_up_keeps_its_status_and_cause() -> None:
    response = Response(response_to(store_rq("1.2.3"), 0xA700))
    end = delivery_results.given_up(remote_results.of_response(Result.RETRY, response, "storage"), 7)
    assert (end.result, end.status, end.cause) == (Result.HELD, 0xA700, Cause.ANSWERED)
    assert end.reason.startswith("given up after 7 attempts, the last: A700H")
