"""One operation at once, by the side of the queue: opens an association, asks, releases."""

import trio

from router.association.data_source import InMemory
from router.association.errors import AssociationError
from router.association.proposal import plan_contexts
from router.association.remote_ae import RemoteAE
from router.association.requestor import Requestor
from router.config import Config
from router.dimse import Response
from router.services import PeerRequest, PeerUnanswered


async def ask(question: PeerRequest, config: Config) -> Response:
    """The peer's answer.

    Raises:
        PeerUnanswered: there is none: no such peer, no association, no such presentation context, no answer in time.
    """
    peer = config.peers.get(question.peer)
    if peer is None or peer.address is None:
        raise PeerUnanswered(f"{question.peer} has no address in the configuration")
    pair = question.abstract_syntax, question.transfer_syntax
    data = InMemory(question.data_set) if question.data_set else None
    try:
        with trio.fail_after(question.deadline):
            target = RemoteAE.of(peer, config)
            async with await Requestor.open(target, plan_contexts([pair]), config.timeouts) as association:
                context = association.contexts.get(pair)
                if context is None:
                    raise PeerUnanswered(association.refused[pair])
                return await association.request(context, question.command, data)
    except trio.TooSlowError as error:
        raise PeerUnanswered(f"no answer within {question.deadline:g} s") from error
    except AssociationError as error:
        raise PeerUnanswered(str(error)) from error
