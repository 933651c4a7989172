"""Ask one peer, without a running router (C-FIND as SCU)."""

from collections.abc import Callable
from typing import Final

import trio
from attrs import evolve, frozen

from router.association import AssociationPools, PooledPeers
from router.config import Config, Peer
from router.dicom.dataset import DataSet
from router.dicom.information_models import InformationModel
from router.services.query.ask import Deadlines, Outcome, PeerMatch, Question, query_peer

_LONGEST: Final = 86400.0
"""Seconds that a query may take while the peer goes on answering; the operator ends it before."""


@frozen(kw_only=True)
class Found:
    """How a query has ended."""

    outcome: Outcome
    first_answer: float | None
    """Seconds to the first match; None without one."""
    is_limited: bool
    """Whether it was cancelled at the limit."""


async def find(
    config: Config,
    peer: Peer,
    model: InformationModel,
    identifier: DataSet,
    tell: Callable[[PeerMatch], None],
    *,
    limit: int,
    cancelled: trio.Event,
) -> Found:
    """Ask `peer`, and call `tell` with each match as it comes. At `limit` matches, or when `cancelled` is set, cancel.

    The peer need not be in `config`, which gives the timeouts and our own titles.
    """
    config = evolve(config, peers={**config.peers, peer.name: peer})
    peers = PooledPeers(AssociationPools(), lambda: config)
    started = trio.current_time()
    first: list[float] = []
    count = 0

    async def receive(match: PeerMatch) -> None:
        nonlocal count
        if not first:
            first.append(trio.current_time() - started)
        if count >= limit:
            cancelled.set()
            return
        count += 1
        tell(match)

    times = config.timeouts
    question = Question(
        peer=peer.name,
        sop_class=model.find,
        identifier=identifier,
        deadlines=Deadlines(
            connect=times.connect + times.association,
            first_answer=times.dimse,
            between_answers=times.dimse,
            deadline=_LONGEST,
        ),
    )
    outcome = await query_peer(peers, question, receive, cancelled)
    return Found(
        outcome=evolve(outcome, matches=count),
        first_answer=first[0] if first else None,
        is_limited=outcome.matches > limit,
    )
