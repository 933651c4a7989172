"""What a service allows before the first byte of a data set: nothing, so many bytes, or as many as the disk takes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest

from pdu import PresentationContext
from router.dimse import DATA_SET, Command, CommandField
from router.dimse import encode as encode_command
from router.services import SCP, Allowance, Proposal, Request, Sender
from router.services.mpps.attributes import MPPS, MPPS_RETRIEVE
from tests.support.commitment_peers import n_action, n_event_report
from tests.support.harness import (
    CT,
    IMPLICIT,
    VERIFICATION,
    Archive,
    Modality,
    RunningRouter,
    configuration,
    data_set,
    eventually,
    p_data,
    running_router,
    store_rq,
)

ECHO = Command(field=CommandField.C_ECHO_RQ, message_id=1, affected_sop_class_uid=VERIFICATION, data_set_type=DATA_SET)
CREATE = Command(
    field=CommandField.N_CREATE_RQ,
    message_id=1,
    affected_sop_class_uid=MPPS,
    affected_sop_instance_uid="1.2.3",
    data_set_type=DATA_SET,
)
STEPS = '[[routes]]\nname = "steps"\nservice = "mpps"\nto = ["pacs"]\n'
IMAGES = '[[routes]]\nname = "images"\nservice = "storage"\nto = ["pacs"]\n'
PIECE = 64_000


@asynccontextmanager
async def router_with(folder: Path, limit: str) -> AsyncIterator[RunningRouter]:
    """A router with `limits.object_size` and an archive."""
    async with Archive().serving() as archive:
        text = f'{IMAGES}{STEPS}[limits]\nobject_size = "{limit}"\n'
        async with running_router(configuration(folder, text, pacs=archive.port)) as router:
            yield router


@asynccontextmanager
async def modality_of(router: RunningRouter) -> AsyncIterator[Modality]:
    """Contexts 1, 3 and 5: CT, Verification, procedure steps."""
    async with Modality.connected(router.port) as modality:
        await modality.associate((CT, (IMPLICIT,)), (VERIFICATION, (IMPLICIT,)), (MPPS, (IMPLICIT,)))
        yield modality


async def begin(modality: Modality, context_id: int, command: Command, size: int) -> None:
    """The command set, and `size` bytes of a data set that does not end with them."""
    await modality.say(p_data(context_id, encode_command(command), command=True))
    for _ in range(0, size, PIECE):
        await modality.say(p_data(context_id, bytes(PIECE), command=False, last=False))


def large(router: RunningRouter) -> list[Path]:
    return list((router.config.router.spool / "large").iterdir())


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_data_set_behind_a_c_echo_is_read_and_never_written(tmp_path: Path) -> None:
    async with router_with(tmp_path, "0") as router, modality_of(router) as modality:
        await begin(modality, 3, ECHO, 8 << 20)
        assert not large(router)
        assert router.spool.statistics().memory == 0
        await modality.say(p_data(3, b"end", command=False))
        assert (await modality.response()).status == 0x0000
        assert not large(router)


@pytest.mark.parametrize(
    ("context_id", "command", "status"),
    [(1, store_rq("1.2.3"), 0xA700), (5, CREATE, 0x0213)],
    ids=["C-STORE", "N-CREATE"],
)
async def test_more_than_object_size_is_dropped_at_once_answered_in_words_and_the_association_goes_on(
    tmp_path: Path, context_id: int, command: Command, status: int
) -> None:
    async with router_with(tmp_path, "4MiB") as router, modality_of(router) as modality:
        await begin(modality, context_id, command, 2 << 20)

        async def is_streaming() -> bool:
            return bool(large(router))

        await eventually(is_streaming)
        for _ in range(0, 6 << 20, PIECE):
            await modality.say(p_data(context_id, bytes(PIECE), command=False, last=False))

        async def is_gone() -> bool:
            return not large(router) and router.spool.statistics().memory == 0

        await eventually(is_gone)  # and its end has not come yet
        await modality.say(p_data(context_id, bytes(10), command=False))
        answer = await modality.response()
        assert answer.status == status
        assert answer.error_comment == "data set of more than 4194304 bytes"
        assert (await modality.store(store_rq("1.2.4"), data_set("1.2.4"))).status == 0x0000


GET = Command(
    field=CommandField.N_GET_RQ,
    message_id=1,
    requested_sop_class_uid=MPPS_RETRIEVE,
    requested_sop_instance_uid="1.2.3",
    data_set_type=DATA_SET,
)


@pytest.mark.parametrize(
    ("command", "largest", "from_reserve"),
    [
        (ECHO, 0, False),
        (GET, 0, False),
        (CREATE, 16 << 20, False),
        (n_action(), 64 << 20, False),
        (n_event_report(1), 64 << 20, True),
        (store_rq("1.2.3"), None, False),
    ],
    ids=lambda value: value.name if isinstance(value, Command) else "",
)
async def test_each_operation_has_its_allowance(
    tmp_path: Path, command: Command, largest: int | None, from_reserve: bool
) -> None:
    text = '[peers.modality]\nae_title = "MODALITY"\n'
    sop_class = command.sop_class_uid
    request = Request(
        sender=Sender(calling_ae="MODALITY", called_ae="ROUTER", peer="127.0.0.1"),
        association=1,
        abstract_syntax=sop_class,
        transfer_syntax=IMPLICIT,
        command=command,
        command_bytes=b"",
    )
    context = PresentationContext(id=1, abstract_syntax=sop_class, transfer_syntaxes=(IMPLICIT,))
    async with running_router(configuration(tmp_path, text)) as router:
        services = router.router._acceptor_context.services
        proposal = Proposal(context=context, requestor=request.sender)
        service = next(one for one in services if isinstance(one, SCP) and one.negotiate(proposal) == IMPLICIT)
        assert service.admit(request) == Allowance(largest=largest, from_reserve=from_reserve)
        router.router.reload(configuration(tmp_path, f'{text}[limits]\nobject_size = "1MiB"\n'))
        smaller = 1 << 20 if largest is None else min(largest, 1 << 20)
        assert service.admit(request) == Allowance(largest=smaller, from_reserve=from_reserve)


@pytest.mark.parametrize("size", [100_000, 1_500_000], ids=["in memory", "in a file"])
async def test_an_object_of_object_size_is_taken_and_one_byte_more_is_not(tmp_path: Path, size: int) -> None:
    content = data_set("1.2.3", size=size)
    for limit, status in ((len(content), 0x0000), (len(content) - 1, 0xA700)):
        async with router_with(tmp_path, f"{limit}B") as router, modality_of(router) as modality:
            assert (await modality.store(store_rq("1.2.3"), content)).status == status
            assert router.spool.statistics().memory == 0


async def test_the_thousandth_object_that_is_too_large_leaves_no_more_than_the_first(tmp_path: Path) -> None:
    async with router_with(tmp_path, "4KiB") as router, modality_of(router) as modality:
        descriptors = open_descriptors()
        for number in range(1000):
            command = attrs.evolve(store_rq("1.2.3"), message_id=number + 1)
            assert (await modality.store(command, bytes(8000))).status == 0xA700
        assert not large(router)
        assert router.spool.statistics().memory == 0
        assert not router.spool.intake.large.in_use
        assert open_descriptors() == descriptors
