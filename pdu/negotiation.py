"""Who accepts what: pure functions over the values of `items` and `pdus`.

`judge_request` and `judge_accept` are what the engine itself insists on; `negotiate` and its kin are for the service
user, who knows what it supports. Not here: access control, which AE title may do what.
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
    """What the engine answers to a request that it does not let through, and why in words for the log."""

    rejection: AssociateRJ
    why: str


@frozen(kw_only=True)
class AcceptedContext:
    """A presentation context that both sides agreed on."""

    id: int
    abstract_syntax: str
    transfer_syntax: str


def judge_request(request: AssociateRQ) -> Refusal | None:
    """Action AE-6 (PS3.8 Table 9-6): is the request acceptable to the service provider? None if it is.

    The protocol version comes first, because in another one the rest may mean something else (PS3.8 9.3.2: only its
    lowest bit is tested).
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
    """Say why this cannot be an AE title (PS3.5 6.2, VR AE; and no climbing path); None if it can."""
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


def judge_accept(request: AssociateRQ, accept: AssociateAC) -> AssociateAC:
    """Hold an answer against its request; the answer as the service user may trust it.

    An answer to a context that was not proposed is an `InvalidParameterValue`. A context accepted in a transfer
    syntax that was not proposed for it is of no use, but no reason to lose the others: it becomes a refusal.
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
    """What may be sent on which ID, of an answer that has been judged."""
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
    """Judge every proposal, in order; `choose` gives the transfer syntax to use, or why there is none.

    PS3.8 9.3.3.2: every proposal is answered. That none is accepted is no reason to reject the association. Beside a
    refusal stands the first transfer syntax, unless it is longer than a UID can be.
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
    """The transfer syntax to take: the first in `preference` that is proposed and acceptable, else the first
    acceptable one in the proposer's order; None if there is none."""
    candidates = [uid for uid in transfer_syntaxes if acceptable(uid)]
    preferred = [uid for uid in preference if uid in candidates]
    return next(iter(preferred + candidates), None)


def accept_roles(
    proposed: Iterable[RoleSelection], wanted: Callable[[RoleSelection], tuple[bool, bool]]
) -> tuple[RoleSelection, ...]:
    """Answer role selection (PS3.7 D.3.3.4): `wanted` says which of (scu, scp) the requestor may be.

    A role that was not offered is never granted. Of several offers for one SOP class the first counts.
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
    """Answer an asynchronous operations window (PS3.7 D.3.3.3): never more than proposed, never more than `limit`,
    where 0 means no limit. None where nothing was proposed: the window is then 1 and 1."""
    if proposed is None:
        return None
    return AsynchronousOperationsWindow(
        invoked=_narrower(proposed.invoked, limit.invoked),
        performed=_narrower(proposed.performed, limit.performed),
    )


def _narrower(one: int, other: int) -> int:
    return min(one, other) if one and other else max(one, other)
