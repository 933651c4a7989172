"""A spool without threads or an event loop: the writer's turns, one after the other, as a test wants them."""

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

from router.model import (
    AttemptResult,
    DeliveryState,
    Envelope,
    PendingDelivery,
    Purpose,
    Recipient,
    Result,
    SpoolSettings,
)
from router.spool import Spool, SpoolError
from router.spool.disk.filesystem import FileSystem
from router.spool.incoming import Incoming
from router.spool.jobs import Answered, ChangeDeliveries, Commit, Job, Question, WriteSoon
from router.spool.ledger.ledger import Ledger
from router.spool.ledger.queries import START
from router.spool.ledger.rows import SettledDelivery
from router.spool.values import Place, QueueAction, Receipt, Selection
from router.spool.writer import Writer

SETTINGS = SpoolSettings(
    segment_size=16 << 10, large_object=4 << 10, memory=64 << 10, free_space_floor=0, reserve=0, history=0.0
)
"""Small, so that a few messages fill a segment."""
T = TypeVar("T")
PATH = Path("/spool")


def envelope(
    uid: str = "1.2.3",
    destinations: tuple[str, ...] = ("pacs",),
    *,
    key: str = "",
    command: bytes = b"command",
    kind: str = "C-STORE-RQ",
    retain: tuple[str, ...] = (),
) -> Envelope:
    return Envelope(
        kind=kind,
        command=command,
        service="storage",
        abstract_syntax="1.2.840.10008.5.1.4.1.1.2",
        transfer_syntax="1.2.840.10008.1.2.1",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uid=uid,
        calling_ae="CT",
        called_ae="ROUTER",
        peer="127.0.0.1",
        received=time.time(),
        deliveries=(
            *(Recipient(destination=name, key=key) for name in destinations),
            *(Recipient(destination=name, purpose=Purpose.RETAIN) for name in retain),
        ),
    )


def content(seed: int, size: int) -> bytes:
    """Bytes that are nobody else's."""
    return random.Random(seed).randbytes(size)


async def waiting(spool: Spool, destination: str, after: int, limit: int) -> list[PendingDelivery]:
    """What waits at a destination and has not failed."""
    return [row.waiting for row in (await spool.fresh(destination, after, limit)).rows]


def delivered(reason: str = "0000H") -> AttemptResult:
    return AttemptResult(result=Result.DELIVERED, reason=reason)


def held(reason: str = "C000H") -> AttemptResult:
    return AttemptResult(result=Result.HELD, reason=reason)


def retry(reason: str = "A700H") -> AttemptResult:
    return AttemptResult(result=Result.RETRY, reason=reason)


class Driver:
    """One run of a spool on a file system."""

    def __init__(self, files: FileSystem, settings: SpoolSettings = SETTINGS, path: Path = PATH) -> None:
        self.spool = Spool.open(path, settings, files=files)
        self.report = self.spool.recovery
        self.files = files
        self.rows: list[PendingDelivery] = []
        self.writer.updates.on_rows = lambda rows: self.rows.extend(row.waiting for row in rows)
        self.writer.housekeeping.ripe = 0.0
        self.writer.on_replies = self._answered

    @property
    def writer(self) -> Writer:
        return self.spool._writer

    @property
    def ledger(self) -> Ledger:
        """Brought up to date, as it is before any question is answered."""
        self.writer.write_down()
        return self.writer.ledger

    def _answered(self, jobs: Sequence[Answered]) -> None:
        for job in jobs:
            if isinstance(job, Commit) and not job.unsure:
                job.incoming.release_memory()

    def receive(self, data: bytes, piece: int = 1500) -> Incoming:
        """As an association does, in a moment without others."""
        incoming = self.spool.intake.incoming()
        with self._taken_back(incoming):
            for at in range(0, len(data), piece):
                if not incoming.keep_in_memory(data[at : at + piece]):
                    incoming.spill(data[at : at + piece])
                    incoming._forget_data()
        return incoming

    @contextmanager
    def _taken_back(self, incoming: Incoming) -> Iterator[None]:
        try:
            yield
        except SpoolError:
            incoming.remove_file()
            incoming.release_memory()
            raise

    def put(self, data: bytes, what: Envelope) -> Commit:
        """A job for `turn`; a large data set is durable by then, as `Intake.store` sees to."""
        incoming = self.receive(data)
        incoming.hand_over()
        if incoming.file is not None:
            with self._taken_back(incoming):
                incoming.make_durable()
        return Commit(incoming, what)

    def commit(self, data: bytes, what: Envelope) -> Receipt:
        """One message in one turn."""
        job = self.put(data, what)
        self.writer.turn([job])
        receipt = job.reply.value
        assert isinstance(receipt, Receipt)
        return receipt

    def settle(
        self, message_id: int, destination: str, settlement: AttemptResult, purpose: Purpose = Purpose.SEND
    ) -> None:
        outcome = SettledDelivery(message_id=message_id, destination=destination, purpose=purpose, result=settlement)
        self.writer.updates.add_outcome(outcome)
        self.writer.turn([WriteSoon()])

    def ask(self, question: Question[T]) -> T:
        self.writer.turn([cast("Job", question)])
        return question.reply.value

    def change(self, action: QueueAction, *message_ids: int, target: str | None = None, **conditions: Any) -> int:
        """What an operator says; how many deliveries were changed."""
        selection = Selection(message_ids=message_ids, **conditions)
        return self.ask(ChangeDeliveries(selection, action, target, START, 10_000)).count

    def states(self, purpose: Purpose = Purpose.SEND) -> dict[tuple[int, str], DeliveryState]:
        """By message id and destination."""
        rows = self.ledger.queue.list_deliveries(Selection(purpose=purpose), 0, 100_000)
        return {(row.message_id, row.destination): row.state for row in rows}

    def tidy(self) -> None:
        """All that housekeeping wants to do."""
        self.writer.write_down()
        while self.writer.housekeeping.has_work:
            self.writer.turn([])

    def waiting(self, destination: str) -> list[PendingDelivery]:
        return [row.waiting for row in self.ledger.backlog.fresh(destination, 0, 10_000).rows]

    def place(self, message_id: int) -> Place:
        place = self.ledger.place(message_id)
        assert place is not None
        return place

    def data(self, message_id: int) -> bytes:
        return b"".join(self.spool._store.pieces(self.place(message_id)))

    def stop(self) -> None:
        """As `run` ends."""
        self.writer._finish()
        self.spool.close()
