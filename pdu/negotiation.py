"""Negotiate an association: pure functions over the values of `items` and `pdus`.

The engine itself calls `check_request` and `check_accept`; `negotiate`, `prefer`, `accept_roles` and `accept_window`
are for the service user, who knows what it supports. Not here: access control.
"""

import re
from collections.abc import Callable, Iterable, Sequence

from attrs import evolve, frozen

from pdu.errors import InvalidParameterValue
from pdu.items import (
    DICOM_APPLICATION_CONTEXT,
    AsynchronousOperationsWindow,
    ContextResult,
    PresentationContext,
    PresentationContextResult,
    RoleSelection,
)
from pdu.pdus import AssociateAC, AssociateRJ, AssociateRQ, Rejection
from pdu.writer import SMALLEST_MAXIMUM_LENGTH

_LONGEST_UID = 64
_CLIMBS = re.compile(r"(^|/)\.\.(/|$)")


@frozen(kw_only=True)
class Refusal:
    """The rejection of a request by the engine itself, with the reason for the log."""

    rejection: AssociateRJ
    why: str


@frozen(kw_only=True)
class AcceptedContext:
    """An accepted presentation context."""

    id: int
    abstract_syntax: str
    transfer_syntax: str


def check_request(request: AssociateRQ) -> Refusal | None:
    """Return why the service provider does not accept a request; None if it does (PS3.8 Table 9-6, AE-6).

    The protocol version is checked first, because the rest may mean something else in another version; only its lowest
    bit is tested (PS3.8 9.3.2).
    """
    if not request.protocol_version & 1:
        why = f"protocol version {request.protocol_version:016b} does not include version 1"
        return _refusal(Rejection.PROTOCOL_VERSION_NOT_SUPPORTED, why)
    if request.application_context != DICOM_APPLICATION_CONTEXT:
        why = f"application context {request.application_context!a} is not DICOM's"
        return _refusal(Rejection.APPLICATION_CONTEXT_NAME_NOT_SUPPORTED, why)
    if fault := fault_in_ae_title(request.called_ae_title):
        return _refusal(Rejection.CALLED_AE_TITLE_NOT_RECOGNIZED, f"called {fault}")
    if fault := fault_in_ae_title(request.calling_ae_title):
        return _refusal(Rejection.CALLING_AE_TITLE_NOT_RECOGNIZED, f"calling {fault}")
    if fault := _fault_in_maximum_length(request.user_information.maximum_length):
        return _refusal(Rejection.NO_REASON_GIVEN_BY_ACSE, fault)
    return None


def _refusal(rejection: Rejection, why: str) -> Refusal:
    return Refusal(rejection=AssociateRJ.because(rejection), why=why)


def fault_in_ae_title(title: str) -> str | None:
    """Return why a text cannot be an AE title; None if it can (PS3.5 6.2, VR AE).

    A title that climbs out of a directory ("..") is refused too: sites use titles in file names.
    """
    if not title.strip(" "):
        return "AE title is blank"
    if not title.isprintable() or "\\" in title:
        return f"AE title {title!a} has a control character or a backslash"
    if _CLIMBS.search(title):
        return f"AE title {title!a} looks like a path"
    return None


def _fault_in_maximum_length(length: int) -> str | None:
    if 0 < length < SMALLEST_MAXIMUM_LENGTH:
        return f"maximum length {length} leaves no room for a presentation data value"
    return None


def check_accept(request: AssociateRQ, accept: AssociateAC) -> AssociateAC:
    """Compare an answer with its request and return the answer that the service user can rely on.

    A context that is accepted in a transfer syntax that was not proposed for it becomes a refusal: it cannot be used,
    but the others can.

    Raises:
        InvalidParameterValue: a context was not proposed, or the maximum length is below
            `SMALLEST_MAXIMUM_LENGTH`.
    """
    if fault := _fault_in_maximum_length(accept.user_information.maximum_length):
        raise InvalidParameterValue(fault)
    proposed = {context.id: context for context in request.presentation_contexts}
    contexts: list[PresentationContextResult] = []
    for context in accept.presentation_contexts:
        if context.id not in proposed:
            raise InvalidParameterValue(f"presentation context {context.id} is answered but was not proposed")
        usable = context.transfer_syntax in proposed[context.id].transfer_syntaxes
        if context.result is ContextResult.ACCEPTANCE and not usable:
            context = evolve(context, result=ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED)
        contexts.append(context)
    return evolve(accept, presentation_contexts=tuple(contexts))


def accepted_contexts(request: AssociateRQ, accept: AssociateAC) -> dict[int, AcceptedContext]:
    """Return the accepted contexts by ID, of an answer from `check_accept`."""
    proposed = {context.id: context.abstract_syntax for context in request.presentation_contexts}
    return {
        context.id: AcceptedContext(
            id=context.id, abstract_syntax=proposed[context.id], transfer_syntax=context.transfer_syntax
        )
        for context in accept.presentation_contexts
        if context.result is ContextResult.ACCEPTANCE
    }


def negotiate(
    proposed: Iterable[PresentationContext], choose: Callable[[PresentationContext], str | ContextResult]
) -> tuple[PresentationContextResult, ...]:
    """Answer every proposed presentation context, in order (PS3.8 9.3.3.2).

    `choose` returns the transfer syntax to use, or the reason for a refusal. An association without an accepted
    context is not rejected for it. A refusal carries the first proposed transfer syntax, unless that is longer than a
    UID can be.
    """
    results: list[PresentationContextResult] = []
    for context in proposed:
        match choose(context):
            case ContextResult() as refusal:
                first = context.transfer_syntaxes[0] if context.transfer_syntaxes else ""
                transfer_syntax, result = first if len(first) <= _LONGEST_UID else "", refusal
            case chosen:
                transfer_syntax, result = chosen, ContextResult.ACCEPTANCE
        results.append(PresentationContextResult(id=context.id, result=result, transfer_syntax=transfer_syntax))
    return tuple(results)


def prefer(
    transfer_syntaxes: Iterable[str], acceptable: Callable[[str], bool], preference: Sequence[str] = ()
) -> str | None:
    """Choose the first transfer syntax of `preference` that is proposed and acceptable.

    Else choose the first acceptable one in the proposer's order. None if no proposed one is acceptable.
    """
    candidates = [uid for uid in transfer_syntaxes if acceptable(uid)]
    preferred = [uid for uid in preference if uid in candidates]
    return next(iter(preferred + candidates), None)


def accept_roles(
    proposed: Iterable[RoleSelection], wanted: Callable[[RoleSelection], tuple[bool, bool]]
) -> tuple[RoleSelection, ...]:
    """Answer role selection; `wanted` returns which of (SCU, SCP) the requestor may be (PS3.7 D.3.3.4).

    A role that was not offered is never allowed. Of several offers for one SOP class the first counts.
    """
    answers: dict[str, RoleSelection] = {}
    for offer in proposed:
        if offer.sop_class_uid not in answers:
            scu, scp = wanted(offer)
            answers[offer.sop_class_uid] = RoleSelection(
                sop_class_uid=offer.sop_class_uid,
                scu_role=offer.scu_role and scu,
                scp_role=offer.scp_role and scp,
            )
    return tuple(answers.values())


def accept_window(
    proposed: AsynchronousOperationsWindow | None, limit: AsynchronousOperationsWindow
) -> AsynchronousOperationsWindow | None:
    """Answer an asynchronous operations window: at most the proposal and at most `limit`, 0 meaning no limit.

    None if nothing was proposed: the window is then 1 and 1 (PS3.7 D.3.3.3).
    """
    if proposed is None:
        return None
    return AsynchronousOperationsWindow(
        invoked=_narrower(proposed.invoked, limit.invoked),
        performed=_narrower(proposed.performed, limit.performed),
    )


def _narrower(one: int, other: int) -> int:
    return min(one, other) if one and other else max(one, other)
