"""Senders, destinations and an operator over a file system that loses power."""

import random

from attrs import define, field

from router.model import AttemptResult, Envelope, Recipient, Result
from router.spool.disk import record
from router.spool.jobs import ChangeDeliveries, Commit, Job, WriteSoon
from router.spool.ledger.queries import START
from router.spool.ledger.rows import SettledDelivery
from router.spool.ledger.schema import HELD
from router.spool.values import QueueAction, Receipt, Selection
from tests.router.spool.driver import Driver, content, envelope
from tests.router.spool.power_cut import FragileFiles, PowerCut

DESTINATIONS = ("pacs", "vna", "research")


@define
class Sent:
    """What a sender knows of one message."""

    envelope: Envelope
    data: bytes
    receipt: Receipt | None = None
    finished: set[str] = field(factory=set)
    """Destinations for which a delivery was reported, or a discard asked for: it may be written down by now."""
    gone: set[str] = field(factory=set)
    """Destinations that an operator's confirmed decision has finished."""
    held: set[str] = field(factory=set)
    """Destinations for which an operator's last confirmed decision is to hold."""


class World:
    """Senders, destinations and an operator, who survive the power cuts."""

    def __init__(self, files: FragileFiles, chance: random.Random, *, keen: bool = False) -> None:
        """`keen`: destinations take everything at once, so that files are soon used again."""
        self.files = files
        self.chance = chance
        self.keen = keen
        self.sent: dict[bytes, Sent] = {}
        self.driver: Driver | None = None
        self.lost_ledger = False
        self.ids: set[int] = set()
        """Message ids that were given out."""
        self.committed_here = 0
        """Batches that were committed as the event loop does."""
        self.clock = 0.0
        """The run clock at the last start."""

    def live(self, turns: int) -> None:
        """Start, work, until the power goes or the turns are done."""
        try:
            self.driver = Driver(self.files)
            self.check(self.driver)
            for _ in range(turns):
                self.driver.spool._store.counters.advance(clock=self.driver.spool.clock() + 100.0)
                self.one_turn(self.driver)
        except PowerCut:
            pass

    def one_turn(self, driver: Driver) -> None:
        jobs: list[Job] = []
        commits: list[tuple[Sent, Commit]] = []
        for _ in range(self.chance.randrange(4)):
            sent = self.new_message()
            commit = driver.put(sent.data, sent.envelope)
            commits.append((sent, commit))
            jobs.append(commit)
        outcomes = self.outcomes()
        word = self.word() if self.chance.random() < 0.3 else None
        if word is not None:
            jobs.append(word[2])
        try:
            if self.chance.random() < 0.5:
                jobs = self.commit_here(driver, jobs)
            for outcome in outcomes:
                driver.writer.updates.add_outcome(outcome)
            jobs.append(WriteSoon())
            driver.writer.turn(jobs)
        finally:
            for sent, commit in commits:
                if commit.reply.given and commit.reply.error is None and not commit.unsure:
                    receipt = commit.reply.value
                    assert isinstance(receipt, Receipt)
                    sent.receipt = receipt
                    if not receipt.duplicate:
                        assert receipt.message_id not in self.ids
                        self.ids.add(receipt.message_id)
            if word is not None and word[2].reply.given and word[2].reply.error is None:
                sent, action, ask = word
                assert sent.receipt is not None
                destinations = set(sent.receipt.destinations)
                if ask.reply.value.count < len(destinations):
                    pass  # some of it was delivered, or stood so already
                elif action is QueueAction.DISCARD:
                    sent.gone |= destinations
                elif action is QueueAction.HOLD:
                    sent.held |= destinations

    def commit_here(self, driver: Driver, jobs: list[Job]) -> list[Job]:
        """Commit as the event loop does, together or one by one, where it may; return the jobs for the thread."""
        commits = [job for job in jobs if isinstance(job, Commit)]
        done: set[Commit] = set()
        for some in [commits, *([commit] for commit in commits)]:
            if some and not done & set(some) and driver.writer.commit_here(some) is not None:
                done.update(some)
                self.committed_here += 1
        while not driver.writer.jobs.empty():
            jobs.append(driver.writer.jobs.get_nowait())
        return [job for job in jobs if job not in done]

    def new_message(self) -> Sent:
        """Sometimes an object that was sent before, sometimes its UID with other bytes."""
        number = len(self.sent)
        uid = f"1.2.{self.chance.randrange(number + 5)}"
        size = self.chance.choice([0, 1, 700, 3000, 5000])
        data = content(self.chance.randrange(2), size)
        destinations = tuple(self.chance.sample(DESTINATIONS, self.chance.randrange(1 if self.keen else 0, 3)))
        token = b"message %d" % number
        self.sent[token] = Sent(envelope(uid, destinations, command=token), data)
        return self.sent[token]

    def outcomes(self) -> list[SettledDelivery]:
        outcomes: list[SettledDelivery] = []
        known = [sent for sent in self.sent.values() if sent.receipt and sent.receipt.message_id]
        for sent in self.chance.sample(known, len(known) if self.keen else min(len(known), 3)):
            assert sent.receipt is not None
            for destination in sent.receipt.destinations:
                result = self.chance.choice([Result.DELIVERED, Result.DELIVERED, Result.RETRY, Result.HELD])
                if self.keen:
                    result = Result.DELIVERED
                if destination:
                    if result is Result.DELIVERED:
                        sent.finished.add(destination)
                    settlement = AttemptResult(result=result, reason="said so")
                    message_id = sent.receipt.message_id
                    settled = SettledDelivery(message_id=message_id, destination=destination, result=settlement)
                    outcomes.append(settled)
        return outcomes

    def word(self) -> tuple[Sent, QueueAction, ChangeDeliveries] | None:
        """An operator's decision about some message."""
        known = [sent for sent in self.sent.values() if sent.receipt and sent.receipt.message_id]
        if not known:
            return None
        sent = self.chance.choice(known)
        assert sent.receipt is not None
        selection = Selection(message_ids=(sent.receipt.message_id,))
        action = self.chance.choice([QueueAction.DISCARD, QueueAction.HOLD, QueueAction.HOLD, QueueAction.RELEASE])
        if action is QueueAction.DISCARD:
            sent.finished |= set(sent.receipt.destinations)
        sent.held.clear()
        return sent, action, ChangeDeliveries(selection, action, None, START, 100)

    def check(self, driver: Driver) -> None:
        """What a start finds is what was promised before it."""
        ledger, clock = driver.ledger, driver.spool.clock()
        assert clock > self.clock - 1  # it was saved just before it was read; each turn takes 100
        assert all(born <= clock for (born,) in ledger.database.execute("SELECT born FROM deliveries"))
        self.clock = clock
        assert driver.report.lost == () or self.lost_ledger
        damaged = [damage.message_id for damage in driver.report.damaged if damage.message_id is not None]
        assert not damaged or self.lost_ledger  # which knew that it was the end of a write that was cut short
        unfinished: dict[bytes, set[str]] = {}
        for (message_id,) in ledger.database.execute("SELECT id FROM messages WHERE unfinished > 0").fetchall():
            if self.lost_ledger and not driver.place(message_id).segment:
                self.check_lost(message_id)
                continue
            token = self.check_message(driver, message_id)
            left = {destination for destination, _ in ledger.unfinished_deliveries(message_id)}
            unfinished[token] = unfinished.get(token, set()) | left
        for token, sent in self.sent.items():
            if sent.receipt is not None and not sent.receipt.duplicate:
                assert set(sent.receipt.destinations) - sent.finished <= unfinished.get(token, set())
            assert not unfinished.get(token, set()) & sent.gone
            self.check_held(driver, sent)
        rows = ledger.database.execute("SELECT destination, state FROM deliveries WHERE state IN (0, 2)").fetchall()
        counted = ledger.queue.totals()
        for destination in (*DESTINATIONS, ""):
            if destination in counted:
                assert counted[destination].waiting == rows.count((destination, 0))
                assert counted[destination].held == rows.count((destination, 2))

    def check_lost(self, message_id: int) -> None:
        """A ledger that was rebuilt may miss the large file of a message that was finished, or hold what was never
        acknowledged, and nothing else."""
        for sent in self.sent.values():
            if sent.receipt is not None and sent.receipt.message_id == message_id:
                assert set(sent.receipt.destinations) <= sent.finished
                assert not set(sent.receipt.destinations) <= sent.gone

    def check_held(self, driver: Driver, sent: Sent) -> None:
        if sent.receipt is not None and sent.receipt.message_id:
            rows = driver.ledger.database.execute(
                "SELECT destination, state FROM deliveries WHERE message_id = ?", (sent.receipt.message_id,)
            )
            states = dict(rows.fetchall())
            for destination in set(sent.receipt.destinations) & sent.held - sent.finished:
                assert states[destination] == HELD

    def check_message(self, driver: Driver, message_id: int) -> bytes:
        """Whole, or not there at all: the token of the message, whose bytes and deliveries are as they were sent."""
        raw = driver.spool._store.raw(driver.place(message_id))
        segment = driver.writer.segments.known[driver.place(message_id).segment]
        header = record.decode_header(raw[: record.HEADER_LENGTH], segment.nonce)
        assert header is not None
        stored = record.decode_envelope(raw[record.HEADER_LENGTH : header.data_offset]).envelope
        sent = self.sent[stored.command]
        assert driver.data(message_id) == sent.data
        assert set(stored.deliveries) <= set(sent.envelope.deliveries or [Recipient(destination="")])
        if sent.receipt is not None and sent.receipt.message_id:
            assert sent.receipt.message_id == message_id
        return stored.command

    def finish(self) -> None:
        """The power stays: deliver and discard everything; nothing is left but the segment that is written to."""
        driver = Driver(self.files)
        self.check(driver)
        for message_id, destination in driver.ledger.database.execute(
            "SELECT message_id, destination FROM deliveries WHERE state IN (0, 2)"
        ).fetchall():
            settlement = AttemptResult(result=Result.DELIVERED, reason="0000H")
            outcome = SettledDelivery(message_id=message_id, destination=destination, result=settlement)
            driver.writer.updates.add_outcome(outcome)
        driver.tidy()
        driver.stop()
        assert all(number.isdigit() for number in self.files.files_in("/segments"))
        assert len(self.files.files_in("/segments")) <= 1
        assert not self.files.files_in("/large")
        assert self.files.open_files == 0
