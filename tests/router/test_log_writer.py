"""Writing lines to a stream that fails, blocks or writes a part."""

import fcntl
import io
import json
import logging
import os
import resource
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
import structlog

from router import logs
from router.log_writer import LogWriter

PATIENCE = 20.0


class Stream(io.StringIO):
    """A stream without a file descriptor that fails or blocks as the test demands."""

    def __init__(self) -> None:
        super().__init__()
        self.failure: Exception | None = None
        self.open = threading.Event()
        self.open.set()
        self.tried = threading.Event()

    def write(self, text: str) -> int:
        self.tried.set()
        assert self.open.wait(PATIENCE)
        if self.failure is not None:
            raise self.failure
        return super().write(text)

    def fileno(self) -> int:
        raise OSError


def told(count: int) -> str:
    return f"dropped {count}"


def written(stream: Stream) -> list[str]:
    return stream.getvalue().splitlines()


def test_close_writes_all_lines_in_order() -> None:
    stream = Stream()
    writer = LogWriter(stream, told)
    lines = [f"line {number}" for number in range(2000)]
    for line in lines:
        writer.put(line)
    writer.close()
    assert written(stream) == lines
    assert writer.dropped == 0


@pytest.mark.parametrize("failure", [BrokenPipeError(), OSError(28, "no space"), ValueError("closed file")])
def test_a_failing_stream_raises_nothing_and_lost_lines_are_reported_once_it_works(failure: Exception) -> None:
    stream = Stream()
    stream.failure = failure
    writer = LogWriter(stream, told)
    writer.put("lost")
    assert stream.tried.wait(PATIENCE)
    while not writer.dropped:
        threading.Event().wait(0.001)
    stream.failure = None
    writer.put("kept")
    writer.close()
    assert written(stream) == ["dropped 1", "kept"]
    assert writer.dropped == 1


def test_a_blocking_stream_blocks_no_caller_and_dropped_lines_are_reported() -> None:
    stream = Stream()
    stream.open.clear()
    writer = LogWriter(stream, told, capacity=100)
    writer.put("first")
    assert stream.tried.wait(PATIENCE)
    for _ in range(50):
        writer.put("0123456789")
    assert writer.dropped == 40
    stream.open.set()
    writer.close()
    assert written(stream) == ["first", "dropped 40", *["0123456789"] * 10]


def test_dropped_lines_are_reported_without_another_line() -> None:
    stream = Stream()
    stream.open.clear()
    writer = LogWriter(stream, told, capacity=10)
    writer.put("first")
    assert stream.tried.wait(PATIENCE)
    writer.put("too long for the queue")
    stream.open.set()
    writer.close()
    assert written(stream) == ["first", "dropped 1"]


def test_a_stalled_reader_does_not_prevent_the_exit() -> None:
    stream = Stream()
    stream.open.clear()
    writer = LogWriter(stream, told)
    writer.put("first")
    writer.close(0.01)
    writer.put("too late")
    assert writer.dropped == 1
    stream.open.set()


def test_a_line_that_a_full_disk_has_cut_short_does_not_spoil_the_next(tmp_path: Path) -> None:
    """Run in a separate process, because the limit on the length of files applies to the whole process."""
    program = (
        "import sys, time; from router.log_writer import LogWriter\n"
        "writer = LogWriter(sys.stderr, lambda count: f'dropped {count}')\n"
        "writer.put('x' * 120)\n"
        "while not writer.dropped: time.sleep(0.001)\n"
        "sys.stderr.truncate(75)\n"
        "writer.put('kept')\n"
        "writer.close()\n"
    )
    log = tmp_path / "log"
    with log.open("ab") as file:
        subprocess.run(
            [sys.executable, "-c", program],
            stderr=file,
            env=os.environ | {"PYTHONPATH": os.getcwd()},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)),
            timeout=60,
            check=True,
        )
    assert log.read_text().splitlines() == ["x" * 75, "dropped 1", "kept"]


def test_a_pipe_that_another_process_made_non_blocking_loses_nothing() -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writing, False)
    with os.fdopen(writing, "w") as stream, os.fdopen(reading) as reader:
        writer = LogWriter(stream, told)
        for number in range(2000):
            writer.put(str(number))
        got = [next(reader).strip() for _ in range(2000)]
        writer.close()
    assert got == [str(number) for number in range(2000)]
    assert writer.dropped == 0


def lines_of(stream: Stream) -> list[dict[str, Any]]:
    logs.close()
    return [json.loads(line) for line in written(stream)]


def test_an_error_comment_is_shown_only_on_request_of_the_operator() -> None:
    hidden, shown = Stream(), Stream()
    logs.configure("json", stream=hidden)
    structlog.get_logger().info("delivery", reason="A700H out of resources", comment="DOE^JOHN")
    assert "DOE" not in str(lines_of(hidden))
    logs.configure("json", stream=shown, phi=True)
    structlog.get_logger().info("delivery", reason="A700H out of resources", comment="DOE^JOHN")
    assert [line["comment"] for line in lines_of(shown)] == ["DOE^JOHN"]


def test_what_a_library_logs_becomes_an_event_of_the_log() -> None:
    stream = Stream()
    logs.configure("json", stream=stream)
    logging.getLogger("library").error("it failed %d times", 3)
    logging.getLogger("library").warning("%d", "no number")
    first, second = lines_of(stream)
    assert (first["event"], first["level"], first["logger"]) == ("it failed 3 times", "error", "library")
    assert second["event"] == "%d"


def test_dropped_lines_are_reported_as_an_event() -> None:
    stream = Stream()
    stream.failure = BrokenPipeError()
    logs.configure("json", stream=stream)
    structlog.get_logger().info("lost")
    while not logs.dropped():
        threading.Event().wait(0.001)
    stream.failure = None
    structlog.get_logger().info("kept")
    notice, kept = lines_of(stream)
    assert (notice["event"], notice["count"], notice["level"]) == ("log lines dropped", 1, "warning")
    assert kept["event"] == "kept"


def test_warnings_and_uncatchable_exceptions_go_to_the_log() -> None:
    stream = Stream()
    logs.configure("json", stream=stream)
    logs.adopt_standard_error()

    class Faulty:
        def __del__(self) -> None:
            raise RuntimeError("nobody can catch this")

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("mind the step", stacklevel=1)
        logging.captureWarnings(False)
    Faulty()
    warned, ignored = lines_of(stream)
    assert (warned["logger"], "mind the step" in warned["event"]) == ("py.warnings", True)
    assert (ignored["event"], "nobody can catch this" in ignored["exception"]) == ("exception ignored", True)
