"""What is agreed with a requestor: from its A-ASSOCIATE-RQ, the configuration and the services to the A-ASSOCIATE-AC.

Pure. The answer's length is bounded, whatever was asked: each presentation context is answered, at most 128 of them,
and a role for each SOP class of those; nothing else of the request is repeated. Not here: who may open an
association at all (`doors`), and what the engine itself refuses (`pdu`).
"""

from collections.abc import Sequence

from attrs import frozen

from pdu import (
    AcceptedContext,
    AssociateAC,
    AssociateRQ,
    AsynchronousOperationsWindow,
    ContextResult,
    PresentationContext,
    RoleSelection,
    UserInformation,
    accept_roles,
    accept_window,
    accepted_contexts,
    negotiate,
)
from router.config import Config, Listener
from router.services import Service


@frozen(kw_only=True)
class Agreement:
    """An association as both sides will see it."""

    accept: AssociateAC
    contexts: dict[int, AcceptedContext]
    services: dict[int, Service]
    """By presentation context ID: who performs what is asked there. The refused ones as far as they have one."""
    window: int
    """Operations that the requestor may have outstanding (PS3.7 D.3.3.3)."""


def agree(request: AssociateRQ, config: Config, listener: Listener, services: Sequence[Service]) -> Agreement:
    """Judge what a requestor proposes."""
    chosen: dict[int, Service] = {}
    by_sop_class: dict[str, Service] = {}

    def choose(context: PresentationContext) -> str | ContextResult:
        """What the first service makes of it whose abstract syntax it is."""
        for service in services:
            verdict = service.judge(context)
            if verdict is not None:
                chosen[context.id] = by_sop_class[context.abstract_syntax] = service
                return verdict
        return ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED

    def roles(offer: RoleSelection) -> tuple[bool, bool]:
        """The roles that the peer may take: as the service says whose abstract syntax it is."""
        service = by_sop_class.get(offer.sop_class_uid)
        return service.roles(offer.sop_class_uid) if service else (True, False)

    results = negotiate(request.presentation_contexts, choose)
    proposed = {context.abstract_syntax for context in request.presentation_contexts}
    offers = [offer for offer in request.user_information.roles if offer.sop_class_uid in proposed]
    window = accept_window(
        request.user_information.asynchronous_operations_window,
        AsynchronousOperationsWindow(invoked=config.limits.window, performed=1),
    )
    accept = AssociateAC(
        called_ae_title=request.called_ae_title,
        calling_ae_title=request.calling_ae_title,
        presentation_contexts=results,
        user_information=UserInformation(
            maximum_length=listener.maximum_pdu_length,
            implementation_class_uid=config.router.implementation_class_uid,
            implementation_version_name=config.router.implementation_version_name,
            asynchronous_operations_window=window,
            roles=accept_roles(offers, roles),
        ),
    )
    return Agreement(
        accept=accept,
        contexts=accepted_contexts(request, accept),
        services=chosen,
        window=window.invoked if window else 1,
    )
