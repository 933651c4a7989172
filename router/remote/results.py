"""The results of attempts by DIMSE: pure functions from a response, or an error, to an `AttemptResult`.

Not here: what the service makes of a status (`DeliveryPolicy.outcome`), and what a lost channel means for the
deliveries on it (router/delivery/results.py).
"""

from router.association import AssociationError, NoResponse, NotConnected, Rejected
from router.dimse import Response, describe
from router.model import AttemptResult, Cause, Fault, Result
from router.remote.base import ChannelLost, NoChannel


def of_response(
    result: Result, response: Response, service: str, *, request: str = "", remark: str = ""
) -> AttemptResult:
    """Return the result of an attempt that the peer has answered: the fault is not the site's, whatever the status.

    `request` names the request that was sent before the delivery, if the response is to that. `remark` is what the
    service adds to the status.
    """
    reason = describe(response.status, service)
    if request:
        reason = f"its {request}, sent again: {reason}"
    return AttemptResult(
        result=result,
        reason=f"{reason}: {remark}" if remark else reason,
        status=response.status,
        comment=response.command.error_comment or "",
        fault=Fault.NONE if result is Result.DELIVERED else Fault.DELIVERY,
    )


def of_refused_context(reason: str) -> AttemptResult:
    """Return the result for a delivery for which the peer accepts no presentation context."""
    return AttemptResult(result=Result.HELD, reason=reason, cause=Cause.NO_CONTEXT, fault=Fault.DELIVERY)


def of_unknown_transform(transform: str, version: int) -> AttemptResult:
    """Return the result for a delivery that must not leave unchanged, where the change is not known."""
    return AttemptResult(
        result=Result.HELD,
        reason=f"this version of the router does not know the change {transform!r}, version {version}",
        cause=Cause.NO_CONTEXT,
        fault=Fault.DELIVERY,
    )


def no_channel(error: AssociationError) -> NoChannel:
    """Translate the failure to open an association."""
    cause, reason = Cause.ABORTED, str(error)
    match error:
        case NotConnected():
            cause = Cause.UNREACHABLE
        case Rejected():
            cause, reason = Cause.REJECTED, f"association {error}"
    return NoChannel(AttemptResult(result=Result.RETRY, reason=reason, cause=cause, fault=Fault.SITE))


def channel_lost(error: AssociationError) -> ChannelLost:
    """Translate the failure of an open association."""
    return ChannelLost(str(error), Cause.TIMED_OUT if isinstance(error, NoResponse) else Cause.ABORTED)
