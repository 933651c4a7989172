"""Procedure steps in the demo: a modality reports a step, sends its images, and completes the step.

Two RIS are notified, one of them later because it was down; and again when the archive has all images.
"""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import trio
from attrs import evolve
from pydicom.uid import generate_uid

from router.association import InMemory, RemoteAE, Requestor, plan_contexts
from router.config import Config, Endpoint, Listener, Peer, Retry, Route
from router.dicom.dataset import DataSet, Element, element, write
from router.dicom.tags import REFERENCED_SOP_CLASS_UID, REFERENCED_SOP_INSTANCE_UID
from router.dicom.uids import EXPLICIT_LE
from router.dimse import Command
from router.dimse.n_requests import n_create, n_set
from router.services.mpps.attributes import (
    MODALITY,
    MPPS,
    PERFORMED_SERIES,
    REFERENCED_IMAGE_SEQUENCE,
    SCHEDULED_STEP_ATTRIBUTES,
    SERIES_INSTANCE_UID,
    STATUS,
    STUDY_INSTANCE_UID,
)
from router.tools.demo.ris import SimulatedRIS
from router.tools.demo.scenario import LOOPBACK, Line, LineKind, address_of, archive, on_this_machine, running
from router.tools.send import Instance, Sent, send

_PATIENCE: Final = 30.0
"""Seconds for all notifications to arrive."""
_DOWN: Final = 1.0
"""Seconds that the second RIS is down."""
_MESSAGES: Final = 3
"""Messages that each RIS must receive: N-CREATE, N-SET, availability."""


Note = Callable[[str, str], None]


async def run_steps_demo(images: Sequence[Instance], folder: Path) -> list[Line]:
    """Run it, and return what happened in order; without the last lines if they took too long."""
    lines: list[Line] = []
    started = trio.current_time()

    def note(who: str, what: str) -> None:
        lines.append(Line(seconds=trio.current_time() - started, who=who, what=what))

    async with AsyncExitStack() as stack:
        spool, _, pacs_port = await stack.enter_async_context(archive("PACS", folder / "steps-pacs"))
        one, two = SimulatedRIS("RIS_ONE"), SimulatedRIS("RIS_TWO")
        port = await stack.enter_async_context(one.serving(Config(), spool))
        reserved = await trio.open_tcp_listeners(0, host=LOOPBACK.host)
        late_port = reserved[0].socket.getsockname()[1]
        await reserved[0].aclose()
        config = on_this_machine(_config(pacs_port, port, late_port), folder / "steps")
        (folder / "steps").mkdir()
        _, _, router_port = await stack.enter_async_context(running(config))
        note("RIS_TWO", "is down")
        await _report(address_of(config, router_port), images, config, note)
        await trio.sleep(_DOWN)
        note("RIS_TWO", "is up again")
        await stack.enter_async_context(two.serving(config, spool, late_port))
        with trio.move_on_after(_PATIENCE):
            while min(len(one.received), len(two.received)) < _MESSAGES:  # noqa: ASYNC110 (a simulated RIS has no event to wait for)
                await trio.sleep(0.05)
        for ris in (one, two):
            for message in ris.received:
                lines.append(
                    Line(
                        seconds=message.at - started,
                        who=ris.title,
                        what=f"hears {message.kind}: {message.summary}",
                        kind=LineKind.NOTIFICATION,
                    )
                )
    return sorted(lines, key=lambda line: line.seconds)


def _config(pacs: int, one: int, two: int) -> Config:
    retry = Retry(first=0.2, factor=1.5, max=0.5)
    peers = {
        name: Peer(name=name, ae_title=title, address=Endpoint(host=LOOPBACK.host, port=port), retry=retry)
        for name, title, port in (("pacs", "PACS", pacs), ("one", "RIS_ONE", one), ("two", "RIS_TWO", two))
    }
    routes = (
        Route(name="images to the PACS", service="storage", to=("pacs",)),
        Route(name="steps to both RIS", service="mpps", to=("one", "two")),
        Route(name="both hear when the images are there", service="instance-availability", to=("one", "two")),
    )
    config = Config()
    return evolve(config, peers=peers, routes=routes, listeners=(Listener(address=LOOPBACK),))


async def _report(target: RemoteAE, images: Sequence[Instance], config: Config, note: Note) -> None:
    """Report the step and send the images, as the modality does."""
    uid, series = generate_uid(prefix=None), generate_uid(prefix=None)
    create = n_create(MPPS, uid)
    change = n_set(MPPS, uid)
    await _send_request(target, create, _in_progress(), config)
    note("modality", "N-CREATE: IN PROGRESS, and has its answer")
    sent: list[Sent] = []
    await send(images, target, config.timeouts, sent.append)
    note("modality", f"{len(sent)} images, and has their answers")
    await _send_request(target, change, _completed(series, images), config)
    note("modality", "N-SET: COMPLETED, and has its answer")


async def _send_request(target: RemoteAE, command: Command, data_set: DataSet, config: Config) -> None:
    pair = (MPPS, EXPLICIT_LE)
    async with await Requestor.open(target, plan_contexts([pair]), config.timeouts) as association:
        response = await association.request(
            association.contexts[pair], command, InMemory(write(data_set, EXPLICIT_LE))
        )
    assert response.status == 0, "the router of the demo accepts every step"


def _in_progress() -> DataSet:
    study: DataSet = {STUDY_INSTANCE_UID: element("UI", generate_uid(prefix=None))}
    return {
        MODALITY: Element("CS", b"CT"),
        SCHEDULED_STEP_ATTRIBUTES: Element("SQ", (study,)),
        STATUS: Element("CS", b"IN PROGRESS "),
    }


def _completed(series: str, images: Sequence[Instance]) -> DataSet:
    references: tuple[DataSet, ...] = tuple(
        {
            REFERENCED_SOP_CLASS_UID: element("UI", image.sop_class_uid),
            REFERENCED_SOP_INSTANCE_UID: element("UI", image.sop_instance_uid),
        }
        for image in images
    )
    one: DataSet = {SERIES_INSTANCE_UID: element("UI", series), REFERENCED_IMAGE_SEQUENCE: Element("SQ", references)}
    return {STATUS: Element("CS", b"COMPLETED "), PERFORMED_SERIES: Element("SQ", (one,))}
