"""The processes of a measurement: none outlives its parent, none fails in silence, and they share one counter."""

import subprocess
import sys
import textwrap
import zlib
from collections.abc import Callable
from typing import cast

from router.tools.bench import (
    Arrival,
    Generator,
    InstanceUIDs,
    Load,
    Mixture,
    Results,
    RouteBench,
    Sink,
    ct_template,
)
from router.tools.bench.results import RECORD
from router.tools.bench.route import crc_of


def run(code: str) -> str:
    """The output of a program, in a process without threads: what forks has none."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_forks_and_their_threads_draw_each_number_once() -> None:
    found = run(
        """
        import os, threading
        from router.tools.bench.processes import SharedCounter, fork
        counter, (read, write) = SharedCounter(), os.pipe()
        def draw():
            for _ in range(2000):
                os.write(write, b"%d " % counter.next())
        def work():
            threads = [threading.Thread(target=draw) for _ in range(2)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
        pids = [fork(work) for _ in range(3)]
        os.close(write)
        with open(read) as pipe:
            print(sorted(map(int, pipe.read().split())) == list(range(3 * 2 * 2000)))
        for pid in pids:
            os.waitpid(pid, 0)
        """
    )
    assert found == "True\n"


def test_a_fork_ends_when_its_parent_is_killed() -> None:
    code = """
        import os, signal, time
        from router.tools.bench.processes import fork
        if not (child := os.fork()):
            fork(lambda: time.sleep(1000))
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
    """
    run(code)  # it would not return before all that hold its standard output have ended


def test_how_a_process_ended_is_said_in_words() -> None:
    found = run(
        """
        import os, signal
        from router.tools.bench.processes import describe_exit, fork
        print(describe_exit(fork(lambda: os.kill(os.getpid(), signal.SIGKILL))))
        print(describe_exit(fork(lambda: 1 / 0)))
        print(describe_exit(fork(lambda: None)))
        """
    )
    assert found.splitlines() == ["was killed by SIGKILL", "ended with exit code 1", "ended with exit code 0"]


def test_the_crc_of_an_object_is_that_of_its_bytes() -> None:
    template, uids = ct_template(20_000), InstanceUIDs()
    for number in (0, 5, 10**9):
        uid = uids.uid(number, template.uid_length)
        data = bytearray(template.content.piece(0, template.length))
        data[template.uid_at : template.uid_at + template.uid_length] = uid.encode()
        assert crc_of(template, uid) == zlib.crc32(data)


class FakeGenerator:
    """It has sent two objects, which were stored."""

    def __init__(self) -> None:
        self.load = Load(mixture=Mixture((ct_template(12_000),)), objects=2)
        self.uids, self.results = InstanceUIDs(), Results(self.load.mixture)

    def run(self, watch: Callable[[], None]) -> None:
        watch()
        for number in range(2):
            self.results.add(RECORD.pack(number, 1.0, 1.0, 2.0, 0))


class FakeSink:
    """It has received the first object as it was, the second one changed, and one of somebody else."""

    reports = 1

    def __init__(self, generator: FakeGenerator) -> None:
        template = generator.load.mixture.templates[0]
        uids = [generator.uids.uid(number, template.uid_length) for number in range(2)]
        crcs = [crc_of(template, uid) for uid in uids]
        self._all = [
            Arrival(uids[0], 3.0, template.length, crcs[0]),
            Arrival(uids[1], 4.0, template.length, crcs[1] ^ 1),
            Arrival("1.2.3", 5.0, 1, 1),
        ]

    def receive(self, timeout: float = 0.0) -> None:
        pass

    def arrivals(self, since: int) -> list[Arrival]:
        return [] if since else self._all


def test_a_changed_object_has_arrived_and_is_counted_as_changed() -> None:
    generator = FakeGenerator()
    bench = RouteBench(cast("Generator", generator), cast("Sink", FakeSink(generator)))
    bench.run(patience=10.0)
    assert (bench.count, bench.changed, bench.unrelated, bench.repeated, bench.missing()) == (2, 1, 1, 0, [])
    assert bench.latencies() == [2.0, 3.0]
