"""Describe PDUs and presentation contexts for the log, in an integration engineer's words."""

from collections.abc import Sequence
from typing import assert_never

from pdu import (
    Abort,
    AbortIndication,
    AssociateConfirm,
    AssociateIndication,
    ContextResult,
    Fragment,
    Indication,
    PresentationContext,
    PresentationContextResult,
    ProviderAbort,
    RejectIndication,
    ReleaseConfirm,
    ReleaseIndication,
    RequestRefused,
    TransportClosed,
)
from router.dicom.uids import uid_name

_RESULTS = {
    ContextResult.ACCEPTANCE: "accepted",
    ContextResult.USER_REJECTION: "refused by the user",
    ContextResult.NO_REASON: "refused without a reason",
    ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED: "refused, abstract syntax not supported",
    ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED: "refused, transfer syntaxes not supported",
}

_MOST_NAMED = 50
"""Transfer syntaxes of one context that are named in the log: more than are in use, fewer than a hostile one has."""


def describe_contexts(
    proposed: Sequence[PresentationContext], results: Sequence[PresentationContextResult]
) -> list[str]:
    """Return one sentence for each presentation context: the proposal and its result."""
    by_id = {result.id: result for result in results}
    return [_one_context(context, by_id.get(context.id)) for context in proposed]


def _one_context(context: PresentationContext, result: PresentationContextResult | None) -> str:
    syntaxes = ", ".join(uid_name(uid) for uid in context.transfer_syntaxes[:_MOST_NAMED])
    if (more := len(context.transfer_syntaxes) - _MOST_NAMED) > 0:
        syntaxes += f" and {more} more"
    proposal = f"proposed {uid_name(context.abstract_syntax)} with {syntaxes}: "
    if result is None:
        return proposal + "not answered"
    if result.result is ContextResult.ACCEPTANCE and len(context.transfer_syntaxes) > 1:
        return proposal + f"accepted with {uid_name(result.transfer_syntax)}"
    return proposal + _RESULTS[result.result]


def describe_abort(abort: Abort) -> str:
    """Return the source and the reason of an A-ABORT (PS3.8 table 9-26)."""
    source, reason = (
        getattr(value, "name", str(value)).replace("_", " ").lower() for value in (abort.source, abort.reason)
    )
    return f"aborted by the peer ({source}: {reason})"


def describe_end(indication: Indication) -> str:
    """Describe an indication that came unexpectedly or ended the association."""
    match indication:
        case AbortIndication(source=source, reason=reason):
            return describe_abort(Abort(source=source, reason=reason))
        case ProviderAbort(error=error):
            return f"the connection was aborted: {error}"
        case TransportClosed():
            return "the peer closed the connection"
        case ReleaseIndication() | ReleaseConfirm():
            return "the peer released the association"
        case Fragment() | AssociateConfirm() | RejectIndication() | AssociateIndication() | RequestRefused():
            return f"the peer sent an unexpected {type(indication).__name__}"
        case _:
            assert_never(indication)
