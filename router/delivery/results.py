"""The results of attempts that end without an answer of the peer: pure functions from an error to an `AttemptResult`.

Not here: the results of answers (router/remote), when to try again (retry.py).
"""

from attrs import evolve

from router.delivery.retry import CRASHES_TO_HOLD
from router.model import AttemptResult, Cause, Fault, PendingDelivery, Result
from router.remote import ChannelLost
from router.spool import OutOfSpace, SpoolError

_INTERRUPTED = "interrupted: the router stopped or let the association go"


def of_lost_channel(error: ChannelLost, *, responded: bool, sent: bool) -> AttemptResult:
    """Return the result of an attempt that was under way when the channel was lost, or was not answered in time.

    A channel on which the peer has `responded` before shows that the site works: then the delivery is at fault.
    `sent`: the request had left to its end.
    """
    timed_out = error.cause is Cause.TIMED_OUT
    return AttemptResult(
        result=Result.RETRY,
        reason=str(error),
        cause=error.cause,
        fault=Fault.SITE if timed_out or not responded else Fault.DELIVERY,
        unanswered=sent,
    )


def of_interruption(*, sent: bool) -> AttemptResult:
    """Return the result of an attempt that nobody is at fault for.

    It is sent again at once, by the router's next run at the latest.
    """
    return AttemptResult(result=Result.RETRY, reason=_INTERRUPTED, cause=Cause.INTERRUPTED, unanswered=sent)


def of_spool_error(error: SpoolError) -> AttemptResult:
    """Return the result of an attempt whose message could not be read."""
    if isinstance(error, OutOfSpace):
        return AttemptResult(result=Result.RETRY, reason=str(error), cause=Cause.NO_SPACE, fault=Fault.DELIVERY)
    return AttemptResult(result=Result.HELD, reason=str(error), cause=Cause.DAMAGED, fault=Fault.DELIVERY)


def of_crash(delivery: PendingDelivery, error: BaseException, *, sent: bool) -> AttemptResult:
    """Return the result of an attempt over which our own code raised: held after `CRASHES_TO_HOLD` of them."""
    crashes = delivery.crashes + 1
    held = crashes >= CRASHES_TO_HOLD
    return AttemptResult(
        result=Result.HELD if held else Result.RETRY,
        reason=f"the router failed over this message {crashes} times, the last: {error!r}; please report it"
        if held
        else f"the router failed over this message: {error!r}",
        cause=Cause.CRASHED,
        fault=Fault.DELIVERY,
        unanswered=sent,
    )


def given_up(result: AttemptResult, attempts: int) -> AttemptResult:
    """Return the result for a delivery that has waited for too long: held. The last attempt keeps status and cause."""
    prefix = f"given up after {attempts} attempts, the last: " if attempts else "given up: "
    return evolve(result, result=Result.HELD, reason=prefix + result.reason)
