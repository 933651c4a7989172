"""Logs: one line per event, JSON for machines or pretty for people, on standard error.

No data-set content is ever logged: UIDs, AE titles, statuses and counts are all that an event carries. What a peer
sent is `escaped` where it is logged: no control character of an AE title reaches a terminal.
"""

import json
import logging
import sys
from typing import Any, Final, Literal, TextIO

import structlog

Format = Literal["json", "pretty"]

_JSON: Final = json.JSONEncoder(default=repr)
"""Made once: `json.dumps` with a default makes one for each line."""


def configure(form: Format | None = None, *, level: str = "info", stream: TextIO | None = None) -> None:
    """Set up structlog, and the standard library's loggers of the HTTP server behind it.

    Args:
        form: "json" or "pretty"; None chooses by whether `stream` is a terminal.
        level: the lowest level that is shown.
        stream: where to; standard error unless told.
    """
    out = stream or sys.stderr
    chosen = form or ("pretty" if out.isatty() else "json")
    threshold = logging.getLevelNamesMapping()[level.upper()]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(serializer=_encode) if chosen == "json" else structlog.dev.ConsoleRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(stream=out, level=max(threshold, logging.WARNING), format="%(message)s", force=True)


def _encode(event: Any, **_: Any) -> str:
    return _JSON.encode(event)


def escaped(text: str) -> str:
    """Printable ASCII only, everything else as a Python escape; at most 128 characters of it."""
    return text.encode("unicode_escape").decode("ascii")[:128]
