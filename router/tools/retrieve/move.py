"""Have a peer send instances to another peer (C-MOVE as SCU)."""

from collections.abc import Callable
from typing import Final

import trio
from attrs import evolve, frozen

from router.association import AssociationPools, PooledPeers
from router.config import Config, Peer
from router.dicom.dataset import DataSet
from router.dicom.information_models import InformationModel
from router.dimse import DATA_SET, Command, CommandField, Priority, Response
from router.services.peers import PeerRequest, PeerUnanswered
from router.services.query.identifier import PROPOSED_SYNTAXES, encode_identifier

_DRAIN: Final = 10.0
"""Seconds that the peer has to end a cancelled operation."""


@frozen(kw_only=True)
class Moved:
    """The state of a C-MOVE, by the peer's last response."""

    remaining: int = 0
    completed: int = 0
    failed: int = 0
    warning: int = 0
    status: int | None = None
    """The final status; None if there was none."""
    cause: str = ""
    """Why there was none."""
    comment: str = ""


async def request_move(
    config: Config,
    peer: Peer,
    model: InformationModel,
    keys: DataSet,
    destination: str,
    tell: Callable[[Moved], None],
    cancelled: trio.Event,
) -> Moved:
    """Ask the peer, call `tell` with each response, and return the last state.

    When `cancelled` is set, a C-CANCEL-RQ is sent.
    """
    config = evolve(config, peers={**config.peers, peer.name: peer})
    times = config.timeouts
    request = PeerRequest(
        peer=peer.name,
        abstract_syntax=model.move,
        transfer_syntaxes=PROPOSED_SYNTAXES,
        command=Command(
            field=CommandField.C_MOVE_RQ,
            affected_sop_class_uid=model.move,
            priority=Priority.MEDIUM,
            move_destination=destination,
            data_set_type=DATA_SET,
        ),
        data_set=lambda context: encode_identifier(keys, context.transfer_syntax),
        deadline=times.connect + times.association,
        patience=times.dimse,
    )
    moved = Moved()
    try:
        async with (
            PooledPeers(AssociationPools(), lambda: config).converse(request) as conversation,
            trio.open_nursery() as nursery,
        ):

            async def cancel() -> None:
                await cancelled.wait()
                nursery.cancel_scope.deadline = trio.current_time() + _DRAIN
                await conversation.cancel()

            nursery.start_soon(cancel)
            async for response in conversation:
                moved = _noted(moved, response)
                tell(moved)
            nursery.cancel_scope.cancel()
    except* PeerUnanswered as group:
        moved = evolve(moved, cause=str(_first(group)))
    if moved.status is None and not moved.cause:
        moved = evolve(moved, cause="cancelled, and the peer did not end the operation")
    return moved


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _noted(moved: Moved, response: Response) -> Moved:
    """Return the state after a response; a count that it lacks stays as it was, but for what remains at the end."""
    command = response.command
    remaining = command.number_of_remaining_suboperations
    return Moved(
        remaining=remaining if remaining is not None else (moved.remaining if response.is_pending else 0),
        completed=_either(command.number_of_completed_suboperations, moved.completed),
        failed=_either(command.number_of_failed_suboperations, moved.failed),
        warning=_either(command.number_of_warning_suboperations, moved.warning),
        status=None if response.is_pending else response.status,
        comment=command.error_comment or "",
    )


def _either(said: int | None, before: int) -> int:
    return before if said is None else said
