"""How long the event loop is held by one N-CREATE of 6 MiB, its repeat, and an N-GET of it. Run from the top."""

import struct
import tempfile
from pathlib import Path

import trio

from router import logs
from router.dimse import Command, CommandField
from router.services.mpps.attributes import MPPS_RETRIEVE
from tests.support.harness import running_router
from tests.support.mpps_peers import Scanner, hub

UID = "1.2.3"
STATUS = (0x0040, 0x0252)
ELEMENTS = 900_000


def content() -> bytes:
    """A step of empty elements, in Explicit VR Little Endian."""
    tags = sorted([(9 + 2 * (number >> 15), number & 0x7FFF) for number in range(ELEMENTS)] + [STATUS])
    values = {STATUS: (b"CS", b"IN PROGRESS ")}
    parts = []
    for tag in tags:
        vr, value = values.get(tag, (b"LO", b""))
        parts.append(struct.pack("<HH2sH", *tag, vr, len(value)) + value)
    return b"".join(parts)


async def main() -> None:
    held = [0.0]

    async def tick() -> None:
        while True:
            before = trio.current_time()
            await trio.sleep(0.01)
            held[0] = max(held[0], trio.current_time() - before - 0.01)

    async def measured(scanner: Scanner, what: str, command: Command, data: bytes | None = None) -> None:
        held[0] = 0.0
        await scanner.tell(command, data)
        status = (await scanner.hear()).status
        await trio.sleep(0.5)
        print(f"{what}: {status:04X}H, event loop held for up to {held[0]:.2f} s")

    with tempfile.TemporaryDirectory() as folder:
        async with running_router(hub(Path(folder), ris=1)) as router, trio.open_nursery() as nursery:
            nursery.start_soon(tick)
            step = content()
            print(f"a step of {len(step) >> 20} MiB")
            async with Scanner.connected(router.port) as scanner:
                await measured(scanner, "N-CREATE", Scanner.create_command(UID), step)
                await measured(scanner, "the same again", Scanner.create_command(UID), step)
            get = Command(
                field=CommandField.N_GET_RQ,
                message_id=1,
                requested_sop_class_uid=MPPS_RETRIEVE,
                requested_sop_instance_uid=UID,
            )
            async with Scanner.connected(router.port, sop_class=MPPS_RETRIEVE) as scanner:
                await measured(scanner, "N-GET", get)
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    logs.configure("json", level="critical")
    trio.run(main)
