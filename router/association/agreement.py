"""Answer an A-ASSOCIATE-RQ from the configuration and the services.

Pure. The answer's length is bounded whatever was proposed: a result for each presentation context, of which there are
at most 128, and for each SOP class of those one role selection and one extended negotiation of at most
`_LARGEST_EXTENDED` bytes. Not here: access (`router.access`), and what the engine itself refuses (`pdu`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from attrs import evolve, field, frozen

from pdu import (
    AcceptedContext,
    AssociateAC,
    AssociateRQ,
    AsynchronousOperationsWindow,
    ContextResult,
    PresentationContext,
    RoleSelection,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserInformation,
    accept_roles,
    accept_window,
    accepted_contexts,
    negotiate,
)
from router.config import Config
from router.services import SCP, NegotiatedTerms, Proposal, Sender, Service

_LARGEST_EXTENDED: Final = 256
"""Bytes of an answer to SOP Class Extended Negotiation. The standard's have at most seven (PS3.4 B.3.1, C.5)."""


@frozen(kw_only=True)
class Agreement:
    """An association as negotiated."""

    accept: AssociateAC
    contexts: dict[int, AcceptedContext]
    services: dict[int, tuple[SCP, ...]]
    """By ID of an accepted presentation context, the services that accept it, in the order of registration."""
    terms: dict[str, NegotiatedTerms]
    """By SOP class."""
    window: int
    """Operations that the requestor may have outstanding; 0 is no limit (PS3.7 D.3.3.3)."""


@frozen(kw_only=True)
class RelayedTerms:
    """The answers of the peer that negotiates some of the contexts in the router's place."""

    choices: Mapping[int, str | ContextResult]
    """Its transfer syntax or its refusal, by ID of the presentation context."""
    roles: Mapping[str, RoleSelection] = field(factory=dict)
    """Its answers to role selection, by SOP class."""
    extended: Mapping[str, bytes] = field(factory=dict)
    """Its answers to SOP Class Extended Negotiation, by SOP class."""
    window: AsynchronousOperationsWindow | None = None
    """What it allows; None if there is no association with it."""


NOTHING_RELAYED: Final = RelayedTerms(choices={})


class _Negotiation:
    """One request's proposals, and the services that are asked about them."""

    def __init__(
        self,
        request: AssociateRQ,
        requestor: Sender,
        services: Iterable[Service],
        relayed: RelayedTerms = NOTHING_RELAYED,
    ) -> None:
        information = request.user_information
        self._relayed = relayed
        self._scps = [service for service in services if isinstance(service, SCP)]
        self._requestor = requestor
        # of several items about one SOP class the first counts
        self._roles = {role.sop_class_uid: role for role in reversed(information.roles)}
        self._extended = {item.sop_class_uid: item.information for item in reversed(information.extended)}
        self._common = {item.sop_class_uid: item for item in reversed(information.common_extended)}
        self.accepting: dict[int, tuple[SCP, ...]] = {}
        self._concerned: dict[str, tuple[Proposal, tuple[SCP, ...]]] = {}
        """By abstract syntax: its first proposal, and the services that it belongs to."""

    def _proposal(self, context: PresentationContext) -> Proposal:
        uid = context.abstract_syntax
        return Proposal(
            context=context,
            requestor=self._requestor,
            role=self._roles.get(uid),
            extended=self._extended.get(uid),
            common_extended=self._common.get(uid),
        )

    def is_served(self, context: PresentationContext) -> bool:
        """Return whether the abstract syntax belongs to a service, be it that the context is refused."""
        proposal = self._proposal(context)
        without = (None, ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED)
        return any(scp.negotiate(proposal) not in without for scp in self._scps)

    def choose(self, context: PresentationContext) -> str | ContextResult:
        """Return the transfer syntax of the first service that accepts one; else the first service's refusal."""
        if (answer := self._relayed.choices.get(context.id)) is not None:
            return answer
        proposal = self._proposal(context)
        results = [(scp, result) for scp in self._scps if (result := scp.negotiate(proposal)) is not None]
        self._concerned.setdefault(context.abstract_syntax, (proposal, tuple(scp for scp, _ in results)))
        chosen = next((result for _, result in results if not isinstance(result, ContextResult)), None)
        if chosen is None:
            return results[0][1] if results else ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED
        alone = evolve(proposal, context=evolve(context, transfer_syntaxes=(chosen,)))
        self.accepting[context.id] = tuple(
            scp for scp, result in results if result == chosen or scp.negotiate(alone) == chosen
        )
        return chosen

    def roles(self, offer: RoleSelection) -> tuple[bool, bool]:
        """Return the roles that the requestor may take: those of the first service that the SOP class belongs to."""
        if (answer := self._relayed.roles.get(offer.sop_class_uid)) is not None:
            return answer.scu_role, answer.scp_role
        proposal, scps = self._concerned[offer.sop_class_uid]
        return scps[0].roles(proposal) if scps else (True, False)

    def extended(self) -> Mapping[str, bytes]:
        """Return the answers to SOP Class Extended Negotiation, by SOP class: the first that a service gives."""
        answers = {uid: one for uid, one in self._relayed.extended.items() if len(one) <= _LARGEST_EXTENDED}
        for uid, (proposal, scps) in self._concerned.items():
            if proposal.extended is not None:
                given = (answer for scp in scps if (answer := scp.extended(proposal)) is not None)
                if (answer := next(given, None)) is not None:
                    answers[uid] = answer[:_LARGEST_EXTENDED]
        return answers

    def answers_roles(self, sop_class: str) -> bool:
        """Return whether role selection for a SOP class is answered: by a service, or by the peer of a relay."""
        return sop_class in self._concerned or sop_class in self._relayed.roles

    def common_extended(self, sop_class: str) -> SOPClassCommonExtendedNegotiation | None:
        return self._common.get(sop_class)


def served_contexts(
    request: AssociateRQ, requestor: Sender, services: Sequence[Service]
) -> Callable[[PresentationContext], bool]:
    """Return a function that says whether the abstract syntax of a context belongs to a service."""
    return _Negotiation(request, requestor, services).is_served


def agree(
    request: AssociateRQ,
    config: Config,
    requestor: Sender,
    services: Sequence[Service],
    relayed: RelayedTerms = NOTHING_RELAYED,
) -> Agreement:
    """Negotiate what `requestor` proposes on an association to its listener.

    `relayed`: the answers of a peer to the contexts that it negotiates.
    """
    assert requestor.listener is not None, "the requestor has connected to a listener"
    negotiation = _Negotiation(request, requestor, services, relayed)
    results = negotiate(request.presentation_contexts, negotiation.choose)
    offers = [offer for offer in request.user_information.roles if negotiation.answers_roles(offer.sop_class_uid)]
    roles = accept_roles(offers, negotiation.roles)
    extended = negotiation.extended()
    window = accept_window(
        request.user_information.asynchronous_operations_window,
        relayed.window or AsynchronousOperationsWindow(invoked=config.limits.window, performed=1),
    )
    accept = AssociateAC(
        called_ae_title=request.called_ae_title,
        calling_ae_title=request.calling_ae_title,
        presentation_contexts=results,
        user_information=UserInformation(
            maximum_length=requestor.listener.maximum_pdu_length,
            implementation_class_uid=config.router.implementation_class_uid,
            implementation_version_name=config.router.implementation_version_name,
            asynchronous_operations_window=window,
            roles=roles,
            extended=tuple(
                SOPClassExtendedNegotiation(sop_class_uid=uid, information=answer) for uid, answer in extended.items()
            ),
        ),
    )
    contexts = accepted_contexts(request, accept)
    granted = {role.sop_class_uid: role for role in roles}
    return Agreement(
        accept=accept,
        contexts=contexts,
        services=negotiation.accepting,
        terms={
            uid: NegotiatedTerms(
                role=granted.get(uid), extended=extended.get(uid), common_extended=negotiation.common_extended(uid)
            )
            for uid in {context.abstract_syntax for context in contexts.values()}
        },
        window=window.invoked if window else 1,
    )
