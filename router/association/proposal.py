"""The A-ASSOCIATE-RQ that we send, and what the peer's A-ASSOCIATE-AC makes of it. Pure."""

from collections.abc import Mapping, Sequence
from typing import Self

from attrs import frozen

from pdu import (
    AcceptedContext,
    AssociateAC,
    AssociateRQ,
    AsynchronousOperationsWindow,
    PresentationContext,
    RoleSelection,
    SOPClassExtendedNegotiation,
    UserInformation,
    accepted_contexts,
)
from router.association.describe import describe_contexts
from router.association.remote_ae import RemoteAE

MOST_CONTEXTS = 128
"""Presentation contexts of one association: their IDs are the odd numbers of a byte (PS3.8 9.3.2.2)."""


def associate_rq(
    remote: RemoteAE,
    contexts: Sequence[PresentationContext],
    roles: Sequence[RoleSelection] = (),
    extended: Sequence[SOPClassExtendedNegotiation] = (),
) -> AssociateRQ:
    """Build the request for an association with a remote AE."""
    return AssociateRQ(
        called_ae_title=remote.called_ae,
        calling_ae_title=remote.calling_ae,
        presentation_contexts=tuple(contexts),
        user_information=UserInformation(
            maximum_length=remote.maximum_pdu_length,
            implementation_class_uid=remote.implementation_class_uid,
            implementation_version_name=remote.implementation_version_name,
            asynchronous_operations_window=_proposed_window(remote.window),
            roles=tuple(roles),
            extended=tuple(extended),
        ),
    )


def _proposed_window(window: int) -> AsynchronousOperationsWindow | None:
    return AsynchronousOperationsWindow(invoked=window, performed=1) if window > 1 else None


def plan_contexts(pairs: Sequence[tuple[str, str]]) -> tuple[PresentationContext, ...]:
    """Return one presentation context for each (abstract syntax, transfer syntax), in order, at most 128.

    A context with one transfer syntax keeps the peer from choosing another one than the object has.
    """
    return contexts_of([(abstract_syntax, (transfer_syntax,)) for abstract_syntax, transfer_syntax in pairs])


def contexts_of(proposals: Sequence[tuple[str, tuple[str, ...]]]) -> tuple[PresentationContext, ...]:
    """Return one presentation context for each (abstract syntax, transfer syntaxes), in order, at most 128.

    The peer chooses one of a context's transfer syntaxes (PS3.8 9.3.3.2).
    """
    distinct = list(dict.fromkeys(proposals))[:MOST_CONTEXTS]
    return tuple(
        PresentationContext(id=2 * index + 1, abstract_syntax=abstract_syntax, transfer_syntaxes=transfer_syntaxes)
        for index, (abstract_syntax, transfer_syntaxes) in enumerate(distinct)
    )


@frozen(kw_only=True)
class Negotiated:
    """An association that a peer has accepted, as both sides will use it."""

    by_id: Mapping[int, AcceptedContext]
    """The accepted presentation contexts by their ID."""
    contexts: Mapping[tuple[str, str], AcceptedContext]
    """The same by (abstract syntax, transfer syntax)."""
    refused: Mapping[tuple[str, str], str]
    """The presentation contexts that were not accepted, by (abstract syntax, transfer syntax), each with the reason."""
    window: int
    """Requests that may be outstanding at a time (PS3.7 D.3.3.3)."""
    scp_for: frozenset[str]
    """The SOP classes for which we proposed to be the SCP (PS3.7 D.3.3.4): the peer may invoke their operations.
    Peers that use the role without granting it in their answer are common."""
    roles: Mapping[str, RoleSelection]
    """The peer's answers to role selection, by SOP class; without one, we are SCU."""
    extended: Mapping[str, bytes]
    """The peer's answers to SOP Class Extended Negotiation, by SOP class (PS3.7 D.3.3.5)."""
    sentences: Sequence[str]
    """One for each proposed presentation context, for the log."""

    @classmethod
    def of(cls, request: AssociateRQ, accept: AssociateAC) -> Self:
        """Sort what was proposed into what can be used and what cannot."""
        sentences = describe_contexts(request.presentation_contexts, accept.presentation_contexts)
        accepted = accepted_contexts(request, accept)
        answer = accept.user_information
        return cls(
            by_id=accepted,
            contexts={(one.abstract_syntax, one.transfer_syntax): one for one in accepted.values()},
            refused={
                (proposed.abstract_syntax, transfer_syntax): sentence
                for proposed, sentence in zip(request.presentation_contexts, sentences, strict=True)
                if proposed.id not in accepted
                for transfer_syntax in proposed.transfer_syntaxes
            },
            window=_window(request.user_information.asynchronous_operations_window, answer),
            scp_for=frozenset(role.sop_class_uid for role in request.user_information.roles if role.scp_role),
            roles={role.sop_class_uid: role for role in answer.roles},
            extended={one.sop_class_uid: one.information for one in answer.extended},
            sentences=sentences,
        )


def _window(proposed: AsynchronousOperationsWindow | None, answer: UserInformation) -> int:
    wanted = proposed.invoked if proposed else 1
    granted = answer.asynchronous_operations_window
    if granted is None:
        return 1
    return min(granted.invoked, wanted) if granted.invoked else wanted
