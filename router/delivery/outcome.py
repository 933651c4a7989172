"""What the end of an attempt means: pure functions from a response, or from an error, to an `AttemptResult`.

Not here: what the service class makes of a status (`Service.outcome`), when to try again (retry.py).
"""

from attrs import evolve

from router.association import AssociationError, NoResponse, NotConnected, Rejected
from router.delivery.retry import CRASHES_TO_HOLD
from router.dimse import Response, describe
from router.model import AttemptResult, Cause, Fault, PendingDelivery, Result
from router.spool import OutOfSpace, SpoolError

_INTERRUPTED = "interrupted: the router stopped or let the association go"


def of_response(result: Result, response: Response, service: str, *, words: str = "") -> AttemptResult:
    """The peer has responded: whatever the status, the fault is not the site's. `words` come before the status."""
    return AttemptResult(
        result=result,
        reason=words + describe(response.status, service),
        status=response.status,
        comment=response.command.error_comment or "",
        fault=Fault.NONE if result is Result.DELIVERED else Fault.DELIVERY,
    )


def of_lost_association(error: AssociationError, *, responded: bool, sent: bool) -> AttemptResult:
    """The association is gone while the attempt was under way, or the response has not come in time.

    An association on which the peer has responded before is the site's word that it works: then the fault is the
    message's. `sent`: the request had left to its end.
    """
    timed_out = isinstance(error, NoResponse)
    return AttemptResult(
        result=Result.RETRY,
        reason=str(error),
        cause=Cause.TIMED_OUT if timed_out else Cause.ABORTED,
        fault=Fault.SITE if timed_out or not responded else Fault.DELIVERY,
        unanswered=sent,
    )


def of_interruption(*, sent: bool) -> AttemptResult:
    """Nobody's fault: to be sent again at once, by the router's next run at the latest."""
    return AttemptResult(result=Result.RETRY, reason=_INTERRUPTED, cause=Cause.INTERRUPTED, unanswered=sent)


def of_spool_error(error: SpoolError) -> AttemptResult:
    """The message could not be read."""
    if isinstance(error, OutOfSpace):
        return AttemptResult(result=Result.RETRY, reason=str(error), cause=Cause.NO_SPACE, fault=Fault.DELIVERY)
    return AttemptResult(result=Result.HELD, reason=str(error), cause=Cause.DAMAGED, fault=Fault.DELIVERY)


def of_crash(delivery: PendingDelivery, error: BaseException, *, sent: bool) -> AttemptResult:
    """Our own code raised an exception over this message: hold it when that has happened a few times."""
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


def of_refused_context(words: str) -> AttemptResult:
    """The peer accepts no presentation context for it."""
    return AttemptResult(result=Result.HELD, reason=words, cause=Cause.NO_CONTEXT, fault=Fault.DELIVERY)


def of_no_association(error: AssociationError) -> AttemptResult:
    """There is no association to send it on."""
    cause, reason = Cause.ABORTED, str(error)
    match error:
        case NotConnected():
            cause = Cause.UNREACHABLE
        case Rejected():
            cause, reason = Cause.REJECTED, f"association {error}"
    return AttemptResult(result=Result.RETRY, reason=reason, cause=cause, fault=Fault.SITE)


def given_up(result: AttemptResult, attempts: int) -> AttemptResult:
    """It has been owed for too long: an operator must look. The last attempt keeps its status and cause."""
    words = f"given up after {attempts} attempts, the last: " if attempts else "given up: "
    return evolve(result, result=Result.HELD, reason=words + result.reason)
