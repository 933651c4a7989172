"""Queries and retrieves in the demo: two archives that know the router only, and a workstation that knows neither."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import trio
from attrs import evolve

from router.association import RemoteAE
from router.config import Config, Endpoint, Listener, Peer, Route
from router.dicom.dataset import DataSet, identifier
from router.dicom.information_models import STUDY_INSTANCE_UID, STUDY_ROOT
from router.dimse import describe
from router.services.query.ask import PeerMatch
from router.tools.demo.archives import SimulatedArchive, described
from router.tools.demo.scenario import LOOPBACK, Line, LineKind, address_of, archive, compare, on_this_machine, running
from router.tools.query.find import find
from router.tools.query.keys import build_identifier, parse_keys, with_return_keys
from router.tools.retrieve.move import request_move
from router.tools.send import Instance

_PATIENT = "DEMO-1"
_STUDIES = ("1.2.826.0.1.3680043.8.498.1", "1.2.826.0.1.3680043.8.498.2", "1.2.826.0.1.3680043.8.498.3")


async def run_query_demo(images: Sequence[Instance], folder: Path) -> list[Line]:
    """Ask the router for the studies of a patient, and have it bring all of them to the workstation."""
    lines: list[Line] = []
    started = trio.current_time()

    def note(who: str, what: str, kind: LineKind = LineKind.NOTE) -> None:
        lines.append(Line(seconds=trio.current_time() - started, who=who, what=what, kind=kind))

    third = len(images) // 3
    parts = [described(images[at * third : (at + 1) * third], _STUDIES[at], _PATIENT) for at in range(3)]
    old, new = (
        SimulatedArchive("OLD_PACS", [*parts[0], *parts[1]]),
        SimulatedArchive("NEW_PACS", [*parts[1], *parts[2]]),
    )
    expected = {image.sop_instance_uid: image for part in parts for image, _ in part}
    async with AsyncExitStack() as stack:
        spool, _, port = await stack.enter_async_context(archive("WORKSTATION", folder / "workstation"))
        ports = [await stack.enter_async_context(one.serving(Config(), spool)) for one in (old, new)]
        config = on_this_machine(_routes_of_site(port, *ports), folder / "live")
        _, _, router_port = await stack.enter_async_context(running(config))
        target = address_of(config, router_port)
        old.known = new.known = evolve(target, calling_ae="PACS")
        note("OLD_PACS", f"has studies 1 and 2, {2 * third} images, and knows the router only")
        note("NEW_PACS", f"has studies 2 and 3, {2 * third} images, and knows the router only")
        studies = await _find_studies(target)
        found = ", ".join(uid.rpartition(".")[2] for uid in sorted(studies))
        note("workstation", f"C-FIND to the router: {len(studies)} studies ({found}), each once")
        for uid in sorted(studies):
            await _retrieve(uid, target, note)
        for one in (old, new):
            note(one.title, f"has sent {one.sent} images")
        contents = await compare("workstation", spool, expected)
        note(
            "workstation",
            f"has {contents.objects} images, {contents.identical} of them byte for byte",
            LineKind.RETRIEVED
            if (contents.objects, contents.identical) == (len(expected), len(expected)) and len(studies) == 3
            else LineKind.NOTE,
        )
    return lines


def _routes_of_site(workstation: int, old: int, new: int) -> Config:
    peers = {
        name: Peer(name=name, ae_title=title, address=Endpoint(host=LOOPBACK.host, port=port))
        for name, title, port in (
            ("workstation", "WORKSTATION", workstation),
            ("old", "OLD_PACS", old),
            ("new", "NEW_PACS", new),
        )
    }
    routes = (
        Route(name="queries to both archives", service="query", to=("old", "new")),
        Route(name="retrieves from both archives", service="retrieve", to=("old", "new")),
    )
    return evolve(Config(), peers=peers, routes=routes, listeners=(Listener(address=LOOPBACK),))


def _router(target: RemoteAE) -> Peer:
    return Peer(
        name="router",
        ae_title=target.called_ae,
        address=Endpoint(host=target.host, port=target.port),
        calling_ae="WORKSTATION",
    )


async def _find_studies(target: RemoteAE) -> list[str]:
    keys = with_return_keys(parse_keys([f"PatientID={_PATIENT}"]), STUDY_ROOT, "STUDY")
    matches: list[DataSet] = []

    def gather(match: PeerMatch) -> None:
        matches.append(match.identifier)

    await find(
        Config(),
        _router(target),
        STUDY_ROOT,
        build_identifier(keys, "STUDY"),
        gather,
        limit=1000,
        cancelled=trio.Event(),
    )
    return [identifier(match, STUDY_INSTANCE_UID) for match in matches]


async def _retrieve(uid: str, target: RemoteAE, note: Callable[[str, str], None]) -> None:
    keys = build_identifier(parse_keys([f"StudyInstanceUID={uid}"]), "STUDY")
    moved = await request_move(
        Config(), _router(target), STUDY_ROOT, keys, "WORKSTATION", lambda state: None, trio.Event()
    )
    words = describe(moved.status, "retrieve") if moved.status is not None else moved.cause
    note(
        "workstation",
        f"C-MOVE of study {uid.rpartition('.')[2]}: {moved.completed} completed, {moved.failed} failed, {words}",
    )
