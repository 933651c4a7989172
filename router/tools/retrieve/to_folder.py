"""Retrieve instances from a peer into a folder, by C-GET: each a file of PS3.10 with the data set as it came.

What there is, is found at the IMAGE level first. Each SOP class gets a presentation context for every transfer syntax
in which an instance may come, so that the peer does not convert; more than an association can have are split. Where the
peer does not name the SOP class of an instance, the storage SOP classes of the standard are proposed, in as many
associations as that takes, until the instance has come.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import trio
from attrs import define, evolve, field

from router.association import AssociationPools, OperationPerformer, PooledPeers
from router.concurrency import DISK_OUT
from router.config import Config, Peer
from router.dicom.dataset import DataSet
from router.dicom.part10 import encode_head
from router.dicom.uids import Kind, is_storage_sop_class, is_uid, registered
from router.dimse import Status
from router.model import SpoolSettings
from router.services.arrivals import Arrival, Arrivals
from router.services.query.ask import Deadlines
from router.services.query.options import PeerQuery, query_ae, query_of
from router.services.retrieve.fetch import FetchEnd, Fetcher, FetchSettings, Lost
from router.services.retrieve.locate import Locator, Wanted, model_for, most_uids_for
from router.services.retrieve.options import retrieve_ae
from router.services.retrieve.plan import COMMON_SYNTAXES, MOST_STORAGE_CONTEXTS, Batch, Instance, Operation, batches
from router.spool import Incoming, Spool

_LONGEST: Final = 86400.0
"""Seconds that a query may take while the peer goes on answering; the operator ends it before."""
_SYNTAXES_AT_ONCE: Final = 4
"""Transfer syntaxes that are proposed together for instances of unknown SOP classes."""
_FIRST_GUESSES: Final = ("CT", "MR", "Enhanced", "Secondary", "Computed", "Digital", "Ultrasound", "XRay")
"""Beginnings of the keywords of SOP classes that are proposed first."""


@define
class Retrieved:
    """What has come, and what has not."""

    found: int = 0
    """Instances that the peer says it has."""
    files: list[Path] = field(factory=list)
    bytes: int = 0
    """Bytes of the data sets."""
    missing: list[str] = field(factory=list)
    """SOP Instance UIDs of those that did not come."""
    causes: dict[str, None] = field(factory=dict)
    """Why, in words."""


async def retrieve_to_folder(
    config: Config,
    peer: Peer,
    keys: DataSet,
    folder: Path,
    tell: Callable[[Retrieved], None],
    cancelled: trio.Event,
) -> Retrieved:
    """Retrieve what the unique keys name, and call `tell` after each instance. The peer need not be in `config`.

    Raises:
        OSError: the folder cannot be written to.
    """
    config = evolve(config, peers={**config.peers, peer.name: peer})
    with _receiving(folder) as spool:
        peers = PooledPeers(AssociationPools(), lambda: config)
        peers.operations = OperationPerformer((), spool)
        done = Retrieved()
        writer = _Writer(config, folder, done, tell)
        times = config.timeouts
        deadlines = Deadlines(
            connect=times.connect + times.association,
            first_answer=times.dimse,
            between_answers=times.dimse,
            deadline=_LONGEST,
        )
        habits = query_of(peer)
        found = await Locator(peers, query_ae(peer).name, deadlines, cancelled, habits).locate(Wanted.from_keys(keys))
        done.found = len(found.instances)
        if found.cause:
            done.causes[found.cause] = None
        tell(done)
        settings = FetchSettings(silence=times.dimse, deadline=deadlines.connect)
        fetcher = Fetcher(peers, Arrivals(), writer.accept, settings, cancelled)
        instances = list(found.instances.values())
        await _fetch_all(fetcher, retrieve_ae(peer), habits, instances, found.sizes, writer, done)
        done.missing = [uid for uid in found.instances if uid not in writer.written]
        return done


async def _fetch_all(
    fetcher: Fetcher,
    archive: Peer,
    habits: PeerQuery,
    instances: Sequence[Instance],
    sizes: dict[str, int],
    writer: "_Writer",
    done: Retrieved,
) -> None:
    """Ask for all instances, those of unknown SOP classes last."""
    titles = frozenset({archive.ae_title})
    plan = partial(batches, sizes=sizes, most_uids=most_uids_for(habits))

    async def ask_for(batch: Batch) -> FetchEnd:
        end = await fetcher.fetch(archive, titles, Operation.GET, batch, model_for(habits))
        if end.cause:
            done.causes[end.cause] = None
        return end

    known = [instance for instance in instances if instance.sop_class]
    for batch in plan(known, operation=Operation.GET):
        if (await ask_for(batch)).lost is not Lost.NOTHING or fetcher.cancelled.is_set():
            return
    for contexts in _guesses():
        left = [one for one in instances if not one.sop_class and one.uid not in writer.written]
        if not left or fetcher.cancelled.is_set():
            return
        parts = tuple(part for batch in plan(left, operation=Operation.MOVE) for part in batch.parts)
        if (await ask_for(Batch(contexts=contexts, parts=parts))).lost is Lost.ARCHIVE:
            return


def _guesses() -> Iterator[tuple[tuple[str, str], ...]]:
    """Yield contexts for the storage SOP classes of the standard: the usual ones of both kinds first."""
    names = {uid: keyword for uid, (_, keyword) in registered(Kind.SOP_CLASS).items() if is_storage_sop_class(uid)}
    classes = sorted(names, key=lambda uid: (not names[uid].startswith(_FIRST_GUESSES), uid))
    most = MOST_STORAGE_CONTEXTS // _SYNTAXES_AT_ONCE
    for at in range(0, len(COMMON_SYNTAXES), _SYNTAXES_AT_ONCE):
        syntaxes = COMMON_SYNTAXES[at : at + _SYNTAXES_AT_ONCE]
        for some in _chunks(classes, most):
            yield tuple((uid, syntax) for uid in some for syntax in syntaxes)


def _chunks(all_of_them: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    return (all_of_them[at : at + size] for at in range(0, len(all_of_them), size))


@contextmanager
def _receiving(folder: Path) -> Iterator[Spool]:
    """Keep what is being received in a folder beside the files, which is removed at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = SpoolSettings(segment_size=1 << 20, free_space_floor=0, reserve=0)
    with tempfile.TemporaryDirectory(prefix=".receiving-", dir=folder) as beside:
        spool = Spool.open(Path(beside), settings)
        try:
            yield spool
        finally:
            spool.close()


class _Writer:
    """Writes instances to files."""

    def __init__(self, config: Config, folder: Path, done: Retrieved, tell: Callable[[Retrieved], None]) -> None:
        self._router = config.router
        self._folder = folder
        self._done = done
        self._tell = tell
        self.written: set[str] = set()
        """SOP Instance UIDs."""

    async def accept(self, arrival: Arrival, data: Incoming) -> int:
        """Write one instance, and return the status to answer."""
        command = arrival.command
        uid = command.sop_instance_uid
        name = uid if is_uid(uid) else f"instance-{len(self.written) + 1}"  # names never come from the network
        head = encode_head(
            sop_class_uid=command.sop_class_uid,
            sop_instance_uid=uid,
            transfer_syntax=arrival.transfer_syntax,
            implementation_class_uid=self._router.implementation_class_uid,
            implementation_version_name=self._router.implementation_version_name,
            source_ae_title=arrival.calling_ae,
        )
        path = self._folder / f"{name}.dcm"
        try:
            length = await trio.to_thread.run_sync(_write, path, head, data, limiter=DISK_OUT)
        except OSError as error:
            self._done.causes[f"{path}: {error.strerror or error}"] = None
            return Status.OUT_OF_RESOURCES
        self.written.add(uid)
        self._done.files.append(path)
        self._done.bytes += length
        self._tell(self._done)
        return Status.SUCCESS


def _write(path: Path, head: bytes, data: Incoming) -> int:
    """Write a file under another name first, so that a part of one is never taken for a whole. Return its data's size.

    Raises:
        OSError: the disk failed.
    """
    unfinished = path.with_suffix(".part")
    try:
        with data.view() as view, unfinished.open("wb") as out:
            out.write(head)
            out.write(view)
            length = len(view)
        os.replace(unfinished, path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
    return length
