"""The conversations of the router: live exchanges that join a client with peers (query, worklist, retrieve, relay).

A service begins one for each operation, or for each relayed association, and writes down what it learns; at its end one
line is logged. Live ones and the last `KEPT` finished ones can be listed. There are no keys, no data sets and no texts
of peers in it. Not here: what a service does with the answers.
"""

import time
from types import TracebackType
from typing import Any, Final, Self

import structlog
import trio
from attrs import asdict, define, field

from router.logs import escaped

KEPT: Final = 1000
"""Finished conversations that can still be listed; one needs about 2 kB."""

_UNFINISHED: Final = "ended before its final response"

log = structlog.get_logger()


@define(kw_only=True)
class ArchiveRecord:
    """What one archive (or RIS, or relay destination) has contributed to a conversation. Its service changes it."""

    asked: int = 0
    """Requests sent to it."""
    first_answer_after: float | None = None
    """Seconds from the conversation's begin to its first response."""
    matches: int = 0
    """Answers of a query, or instances that came of a retrieve."""
    duplicates: int = 0
    """Those of them that another archive had given before."""
    failed: int = 0
    """Instances of a retrieve that it did not give."""
    seconds: float | None = None
    """From the conversation's begin to its final response, or to when it was given up; None: neither yet."""
    status: str = ""
    """Its final status in words."""
    cause: str = ""
    """Why it failed, in the router's words: no text of the peer, no key value."""
    _began: float = field(factory=trio.current_time, alias="began", repr=False)

    def matched(self, count: int = 1) -> None:
        """Count matches, and note the time of the first response."""
        if self.first_answer_after is None:
            self.first_answer_after = self._elapsed()
        self.matches += count

    def answered(self, status: str, cause: str = "") -> None:
        """Note the final status, and the time; with a cause if it has failed."""
        self.status, self.cause, self.seconds = status, cause, self._elapsed()
        if self.first_answer_after is None and not cause:
            self.first_answer_after = self.seconds

    def as_json(self) -> dict[str, Any]:
        """Return the record for the log and the admin API."""
        return asdict(self, filter=lambda attribute, _: attribute.name != "_began")

    def _elapsed(self) -> float:
        return round(trio.current_time() - self._began, 4)


class Conversation:
    """One conversation. As a context manager it ends with the block, and then logs its line."""

    def __init__(self, registry: "Conversations", number: int, facts: dict[str, Any]) -> None:
        self.number: Final = number
        """Counted from 1 since the start of the process."""
        self.status = ""
        """The status of the final response, in words; "" while there is none."""
        self._registry = registry
        self._facts = facts
        self._began = trio.current_time()
        self._started = time.time()
        self._seconds: float | None = None
        self._counts: dict[str, int] = {}
        self._archives: dict[str, ArchiveRecord] = {}

    def archive(self, name: str) -> ArchiveRecord:
        """Return the record of an archive, by the name of its peer in the configuration."""
        if name not in self._archives:
            self._archives[name] = ArchiveRecord(began=self._began)
        return self._archives[name]

    def counts(self, *, remaining: int = 0, completed: int = 0, failed: int = 0, warning: int = 0) -> None:
        """Note the numbers of sub-operations, as in the last response of a retrieve (PS3.7 C.4.2.1.6)."""
        self._counts = {"remaining": remaining, "completed": completed, "failed": failed, "warning": warning}

    def describe(self, **facts: Any) -> None:
        """Add facts of one service, in place of earlier ones of the same names."""
        self._facts |= facts

    def finish(self, status: str) -> None:
        """Note the status of the final response, in words."""
        self.status = status

    def as_json(self) -> dict[str, Any]:
        """Return the conversation for the log and the admin API."""
        seconds = trio.current_time() - self._began if self._seconds is None else self._seconds
        return {
            "number": self.number,
            **self._facts,
            "live": self._seconds is None,
            "status": self.status,
            "started": self._started,
            "seconds": round(seconds, 3),
            "counts": dict(self._counts),
            "archives": {name: record.as_json() for name, record in self._archives.items()},
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._seconds = trio.current_time() - self._began
        self.status = self.status or _UNFINISHED
        self._registry.keep(self)
        line = self.as_json()
        del line["live"], line["started"]
        log.info("conversation", **line)


class Conversations:
    """The conversations of this process: the live ones, and the last finished ones."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._live: dict[int, Conversation] = {}
        self._finished: dict[int, Conversation] = {}
        self._last = 0

    def begin(
        self, *, service: str, calling_ae: str, called_ae: str, peer: str, association: int, what: str
    ) -> Conversation:
        """Begin a conversation; it is live until its block ends.

        Args:
            service: as in the `service` key of a route.
            calling_ae: the client's AE title, as it came.
            called_ae: the AE title that the client called, as it came.
            peer: the client's IP address.
            association: the number of the client's association in the log.
            what: the operation without its keys, such as "C-FIND STUDY (Study Root)".
        """
        self._last += 1
        facts = {
            "service": service,
            "what": what,
            "calling_ae": escaped(calling_ae),
            "called_ae": escaped(called_ae),
            "peer": peer,
            "association": association,
        }
        conversation = self._live[self._last] = Conversation(self, self._last, facts)
        return conversation

    def keep(self, conversation: Conversation) -> None:
        """Keep a conversation as finished, and forget the oldest finished one beyond the limit."""
        self._live.pop(conversation.number, None)
        self._finished[conversation.number] = conversation
        if len(self._finished) > self._kept:
            del self._finished[next(iter(self._finished))]

    def live(self) -> list[dict[str, Any]]:
        """Return the live conversations, the oldest first."""
        return [conversation.as_json() for conversation in self._live.values()]

    def recent(self, limit: int = KEPT) -> list[dict[str, Any]]:
        """Return finished conversations, the one that ended last first."""
        newest = list(reversed(self._finished.values()))[:limit]
        return [conversation.as_json() for conversation in newest]

    def find(self, number: int) -> dict[str, Any] | None:
        """Return a conversation by its number; None if it is not kept any more, or never was."""
        conversation = self._live.get(number) or self._finished.get(number)
        return conversation.as_json() if conversation else None
