"""Associations that stream data sets without an end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from router.dimse import Command, CommandField
from router.dimse import encode as encode_command
from tests.support.harness import (
    CT,
    IMPLICIT,
    VERIFICATION,
    Modality,
    RunningRouter,
    p_data,
)

ECHO = Command(field=CommandField.C_ECHO_RQ, message_id=1, affected_sop_class_uid=VERIFICATION)


@asynccontextmanager
async def modality_of(router: RunningRouter) -> AsyncIterator[Modality]:
    """Context 1 is CT's, 3 Verification's."""
    async with Modality.connected(router.port) as modality:
        accepted = await modality.associate((CT, (IMPLICIT,)), (VERIFICATION, (IMPLICIT,)))
        assert type(accepted).__name__ == "AssociateAC"
        yield modality


async def stream(modality: Modality, context_id: int, command: Command, count: int) -> None:
    """`count` bytes of a data set that does not end with them."""
    await modality.say(p_data(context_id, encode_command(command), command=True))
    for _ in range(0, count, 64_000):
        await modality.say(p_data(context_id, bytes(64_000), command=False, last=False))
