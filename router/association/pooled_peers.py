"""What services invoke at peers at once (`router.services.Peers`), on associations of the peers' pools."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Self

import trio
from attrs import evolve, frozen

from pdu import AcceptedContext
from router.association.data_source import InMemory
from router.association.errors import AssociationError
from router.association.invocation import Invocation
from router.association.operation import OperationPerformer
from router.association.pool import AssociationPlan, AssociationPool, AssociationPools
from router.association.proposal import contexts_of
from router.association.remote_ae import RemoteAE
from router.association.requestor import Requestor
from router.config import Config, Peer
from router.dimse import Response
from router.services import SCP, ContextRefused, PeerContext, PeerRequest, PeerResponse, PeerUnanswered


@frozen
class _Ready:
    """An association that a request can be sent on."""

    association: Requestor
    accepted: AcceptedContext
    context: PeerContext
    data: InMemory | None


class Conversation:
    """The responses of a peer to one request, read one at a time."""

    def __init__(self, invocation: Invocation, context: PeerContext) -> None:
        self._invocation = invocation
        self.context = context

    @property
    def request_message_id(self) -> int:
        return self._invocation.message_id

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Response:
        try:
            return await self._invocation.__anext__()
        except AssociationError as error:
            raise PeerUnanswered(str(error)) from error

    @property
    def has_arrived(self) -> bool:
        return self._invocation.has_arrived

    async def cancel(self) -> None:
        await self._invocation.cancel()


class PooledPeers:
    """The peers of a configuration, each with its pool of associations."""

    def __init__(self, pools: AssociationPools, config: Callable[[], Config]) -> None:
        """`config`: returns the configuration in force."""
        self.operations: OperationPerformer | None = None
        """Performs what the peers invoke on these associations."""
        self._pools = pools
        self._config = config

    async def invoke(self, request: PeerRequest) -> PeerResponse:
        """As `Peers.invoke`."""
        try:
            with trio.fail_after(request.deadline):
                async with self._lease(request) as ready:
                    response = await ready.association.request(ready.accepted, request.command, ready.data)
                    return PeerResponse(response, ready.context)
        except trio.TooSlowError as error:
            raise PeerUnanswered(f"no response within {request.deadline:g} s") from error
        except AssociationError as error:
            raise PeerUnanswered(str(error)) from error

    @asynccontextmanager
    async def converse(self, request: PeerRequest) -> AsyncIterator[Conversation]:
        """As `Peers.converse`."""
        async with AsyncExitStack() as leasing:
            try:
                with trio.fail_after(request.deadline):
                    ready = await leasing.enter_async_context(self._lease(request))
                    invocation = await ready.association.converse(
                        ready.accepted, request.command, ready.data, patience=request.patience
                    )
            except trio.TooSlowError as error:
                raise PeerUnanswered(
                    f"not sent within {request.deadline:g} s: no association to the peer was free or could be opened"
                ) from error
            except AssociationError as error:
                raise PeerUnanswered(str(error)) from error
            yield Conversation(invocation, ready.context)

    @asynccontextmanager
    async def _lease(self, request: PeerRequest) -> AsyncIterator[_Ready]:
        config = self._config()
        peer = config.peers.get(request.peer) or config.destinations.get(request.peer)
        if peer is None or peer.address is None:
            raise PeerUnanswered(f"{request.peer} has no address in the configuration")
        plan = AssociationPlan(
            remote=RemoteAE.of(peer, config),
            contexts=contexts_of([(request.abstract_syntax, request.transfer_syntaxes), *request.further]),
            roles=request.roles,
            extended=request.extended,
            operations=self._performer(request),
        )
        timeouts = config.timeouts
        if request.connect is not None:
            timeouts = evolve(timeouts, connect=request.connect, association=request.connect)
        async with self._pool(peer, request).lease(plan, timeouts) as association:
            accepted = _accepted(association, request)
            context = PeerContext(
                transfer_syntax=accepted.transfer_syntax, extended=association.extended.get(request.abstract_syntax)
            )
            content = request.data_set(context) if request.data_set else request.content
            data = InMemory(content) if content is not None else None
            yield _Ready(association, accepted, context, data)

    def _performer(self, request: PeerRequest) -> OperationPerformer | None:
        if request.performer is None or self.operations is None:
            return self.operations
        assert isinstance(request.performer, SCP)
        return evolve(self.operations, services=(request.performer,))

    def _pool(self, peer: Peer, request: PeerRequest) -> AssociationPool:
        """Return the peer's pool, or one of its own for this kind of request, with the same limits."""
        if not request.pool:
            return self._pools.of(peer.name)
        pool = self._pools.of(f"{peer.name}:{request.pool}{'' if request.lingers else ' once'}*")
        pool.limit, pool.linger = peer.associations, peer.linger if request.lingers else 0.0
        return pool


def _accepted(association: Requestor, request: PeerRequest) -> AcceptedContext:
    pairs = [(request.abstract_syntax, transfer_syntax) for transfer_syntax in request.transfer_syntaxes]
    accepted = next((association.contexts[pair] for pair in pairs if pair in association.contexts), None)
    if accepted is None:
        raise ContextRefused(association.refused[pairs[0]])
    return accepted
