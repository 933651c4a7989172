"""Fetch from an archive what an operator asks for.

The instances go through the routes, as if the archive had sent them, or to the one peer that the operator names.
"""

from typing import Final

import trio

from router.config import Config, Peer
from router.dimse import DATA_SET, Command, CommandField, Priority, encode
from router.services.arrivals import Arrival
from router.services.base import Request, Sender, ServiceContext
from router.services.retrieve.locate import Wanted
from router.services.retrieve.options import RetrieveRouteOptions
from router.services.retrieve.retrieval import Delivery, Order, Retrieval, archive_of
from router.services.retrieve.spooled import Origin, SpooledDeliveries, SpooledDelivery
from router.services.retrieve.sub_operations import End
from router.services.storage import Storage
from router.spool import Incoming

MOST: Final = 16
"""Fetches at a time."""


class NotFetched(Exception):
    """The fetch cannot begin: a peer is not known. The message says which."""


class TooManyFetches(Exception):
    """The fetch cannot begin now: too many run."""


class RoutedDelivery:
    """Gives each instance to the routes, and so to the spool."""

    def __init__(self, storage: Storage, retrieval: Retrieval) -> None:
        self._storage = storage
        self._retrieval = retrieval

    async def accept(self, arrival: Arrival, data: Incoming) -> int:
        """Commit an instance with the deliveries of its routes, and return the status to answer the archive."""
        command = arrival.command
        sender = Sender(calling_ae=arrival.calling_ae, called_ae=arrival.called_ae, peer=arrival.peer)
        request = Request(
            sender=sender,
            association=0,
            abstract_syntax=command.sop_class_uid,
            transfer_syntax=arrival.transfer_syntax,
            command=command,
            command_bytes=encode(command),
        )
        status = await self._storage.accept_fetched(request, data)
        self._retrieval.sub_operation_ended(command.sop_instance_uid, End.FAILED if status else End.COMPLETED)
        return status

    async def close(self, *, withdraw: bool) -> None:
        """Do nothing: what has been committed goes its way."""


class OperatorFetches:
    """The fetches of operators. `run` performs them."""

    def __init__(self, context: ServiceContext, storage: Storage, spooled: SpooledDeliveries) -> None:
        self._context = context
        self._storage = storage
        self._spooled = spooled
        self._nursery: trio.Nursery | None = None
        self._running: dict[int, Retrieval] = {}
        """By the number of the conversation."""

    async def run(self) -> None:
        """Perform the fetches."""
        async with trio.open_nursery() as self._nursery:
            await trio.sleep_forever()

    async def begin(self, config: Config, name: str, wanted: Wanted, to: str | None) -> int:
        """Begin a fetch to the peer `to`, or without it through the routes; return the number of its conversation.

        Raises:
            NotFetched: there is no such peer.
            TooManyFetches: too many fetches run.
        """
        archive = _peer(config, name)
        destination = None if to is None else _peer(config, to)
        if len(self._running) >= MOST:
            raise TooManyFetches(f"{MOST} fetches run already")
        assert self._nursery is not None, "the supervisor runs it before the admin API"
        retrieval = Retrieval(_order(config, archive, wanted, to), self._context)
        self._nursery.start_soon(self._perform, retrieval, self._delivery(retrieval, destination))
        while not retrieval.conversation_number and not retrieval.finished.is_set():
            await retrieval.changed.park()
        return retrieval.conversation_number

    def _delivery(self, retrieval: Retrieval, destination: Peer | None) -> Delivery:
        if destination is None:
            return RoutedDelivery(self._storage, retrieval)
        origin = Origin(priority=Priority.MEDIUM)
        spool = self._context.spool
        return SpooledDelivery(self._spooled, spool, destination, origin, retrieval.sub_operation_ended)

    async def _perform(self, retrieval: Retrieval, delivery: Delivery) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(retrieval.run, delivery)
            while not retrieval.conversation_number and not retrieval.finished.is_set():
                await retrieval.changed.park()
            self._running[retrieval.conversation_number] = retrieval
        del self._running[retrieval.conversation_number]

    def cancel(self, number: int) -> bool:
        """Cancel a fetch; return whether it was running."""
        retrieval = self._running.get(number)
        if retrieval is not None:
            retrieval.cancel()
        return retrieval is not None


def _peer(config: Config, name: str) -> Peer:
    peer = config.peers.get(name)
    if peer is None or peer.address is None:
        raise NotFetched(f"{name} is no peer of the configuration with an address")
    return peer


def _order(config: Config, peer: Peer, wanted: Wanted, to: str | None) -> Order:
    """Return the order of an operator, as if the router itself were the client."""
    title = config.router.ae_title
    command = Command(field=CommandField.C_GET_RQ, message_id=0, priority=Priority.MEDIUM, data_set_type=DATA_SET)
    request = Request(
        sender=Sender(calling_ae=title, called_ae=title, peer="127.0.0.1"),
        association=0,
        abstract_syntax="",
        transfer_syntax="",
        command=command,
        command_bytes=b"",
    )
    where = "" if to is None else f" to {to}"
    return Order(
        request=request,
        what=f"fetch from {peer.name}{where}, for an operator",
        wanted=wanted,
        archives=(archive_of(peer),),
        options=RetrieveRouteOptions(),
    )
