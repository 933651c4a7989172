"""Logs: one line per event, JSON for machines or pretty for people, on standard error.

No data-set content is ever logged: UIDs, AE titles, statuses and counts are all that an event carries. What a peer
sent is `escaped` where it is logged: no control character of an AE title reaches a terminal. What may hold a patient's
name stands under a key of `PHI_KEYS`, and only `configure(phi=True)` shows it.

A line is rendered by the caller and written by the thread of `LogWriter`: a stream that fails, or that nobody reads,
loses lines, and does not slow the router down.
"""

import atexit
import json
import logging
import os
import sys
from typing import Any, Final, Literal, TextIO

import structlog

from router.log_writer import LogWriter

Format = Literal["json", "pretty"]

PHI_KEYS: Final = ("comment",)
"""Keys of events that may hold a patient's name: `comment` is a peer's Error Comment (PS3.7 C)."""

_JSON: Final = json.JSONEncoder(default=repr)
"""Made once: `json.dumps` with a default makes one for each line."""

_writer: LogWriter | None = None


def configure(
    form: Format | None = None, *, level: str = "info", stream: TextIO | None = None, phi: bool = False
) -> None:
    """Send structlog and the standard library's loggers to a stream, by way of a `LogWriter`.

    Args:
        form: "json" or "pretty"; None chooses by whether `stream` is a terminal.
        level: the lowest level that is shown.
        stream: where to write; None is standard error.
        phi: whether to show the keys of `PHI_KEYS`.
    """
    global _writer
    out = stream or _standard_error()
    chosen = form or ("pretty" if out.isatty() else "json")
    threshold = logging.getLevelNamesMapping()[level.upper()]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(serializer=_encode) if chosen == "json" else structlog.dev.ConsoleRenderer()
    )
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        renderer,
    ]
    if not phi:
        processors.insert(0, _without_phi)
    close()
    _writer = LogWriter(out, lambda count: _notice(processors, count))
    lines = _Lines(_writer)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_StandardLibrary()], level=max(threshold, logging.WARNING), force=True)


def close() -> None:
    """Write what is queued and end the writer. Called at exit too; waits `EXIT_PATIENCE` for a reader."""
    if _writer is not None:
        _writer.close()


atexit.register(close)


def dropped() -> int:
    """Return how many lines could not be written since `configure`."""
    return _writer.dropped if _writer else 0


def adopt_standard_error() -> None:
    """Log what Python writes to standard error itself: warnings, and exceptions that cannot be caught."""

    def log_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
        error = unraisable.exc_value
        structlog.get_logger().error("exception ignored", where=repr(unraisable.object), exc_info=error)

    logging.captureWarnings(True)
    sys.unraisablehook = log_unraisable


def _standard_error() -> TextIO:
    """Return standard error, or a stream to the null device if the process was started without one.

    Descriptors 0 to 2 are then in use: what Python writes to number 2 must not end up in a file of the spool.
    """
    if sys.stderr is not None:
        return sys.stderr
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    return os.fdopen(fd, "w")


class _Lines:
    """A structlog logger of which every method queues the rendered line."""

    def __init__(self, writer: LogWriter) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = writer.put


class _StandardLibrary(logging.Handler):
    """Turn a record of a library's logger into an event of the router's log."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger().bind(logger=record.name)
        write = log.error if record.levelno >= logging.ERROR else log.warning
        try:
            message = record.getMessage()
        except Exception:  # its arguments do not fit its format
            message = str(record.msg)
        write(message, exc_info=record.exc_info)


def _notice(processors: list[structlog.typing.Processor], count: int) -> str:
    """Render the line that reports dropped lines."""
    event: Any = {"event": "log lines dropped", "count": count}
    for process in processors:
        event = process(None, "warning", event)
    return str(event)


def _without_phi(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    for key in PHI_KEYS:
        event.pop(key, None)
    return event


def _encode(event: Any, **_: Any) -> str:
    return _JSON.encode(event)


def escaped(text: str) -> str:
    """Return the text in printable ASCII, with Python escapes for everything else, cut to 128 characters."""
    return text.encode("unicode_escape").decode("ascii")[:128]
