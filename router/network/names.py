"""Look up host names in threads of their own, so that a silent name server slows nothing else.

`NameLookup` is trio's resolver for the running router: `trio.open_tcp_stream` asks it for every host that is not an
IP address. Each host has at most one look-up under way, however many tasks ask for it. Answers are kept for a minute,
and used for longer while the name server is silent.
"""

import socket
from typing import Any, Final

import structlog
import trio
from attrs import define, field

LIFE: Final = 60.0
"""Seconds for which an answer is used without asking again."""
STALE_AFTER: Final = 1.0
"""Seconds to wait for the name server before an older answer is used."""
PATIENCE: Final = 8.0
"""Seconds to wait for the name server if there is no older answer. A late answer serves the next attempt."""
_THREADS: Final = 16
"""Look-ups at the same time. Each waits in its thread for as long as the C library does: 20 s are common."""
_MOST_ANSWERS: Final = 4096

Question = tuple[Any, ...]
Addresses = list[Any]

log = structlog.get_logger()


@define(eq=False)
class _LookUp:
    """A question that the name server has not answered yet."""

    done: trio.Event = field(factory=trio.Event)
    addresses: Addresses | None = None
    error: OSError | UnicodeError | None = None


class NameLookup(trio.abc.HostnameResolver):
    """Asks the name server, and keeps its answers."""

    def __init__(self) -> None:
        self._threads = trio.CapacityLimiter(_THREADS)
        self._answers: dict[Question, tuple[float, Addresses]] = {}
        """The moment and the addresses of each answer, the oldest first."""
        self._under_way: dict[Question, _LookUp] = {}

    async def getaddrinfo(
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,  # noqa: A002 (the name that trio calls it by)
        proto: int = 0,
        flags: int = 0,
    ) -> Addresses:
        """Return the addresses of a host, as `socket.getaddrinfo` does.

        Raises:
            OSError: there is no such host, or the name server is silent.
            UnicodeError: the text cannot be a host name.
        """
        question = (host, port, family, type, proto, flags)
        asked, known = self._answers.get(question, (0.0, None))
        if known is not None and trio.current_time() < asked + LIFE:
            return known
        look_up = self._under_way.get(question) or self._begin(question)
        with trio.move_on_after(PATIENCE if known is None else STALE_AFTER):
            await look_up.done.wait()
        if look_up.addresses is not None:
            return look_up.addresses
        if known is not None and not _is_final(look_up.error):
            log.debug("name server silent, an older answer is used", host=host)
            return known
        raise look_up.error or socket.gaierror(socket.EAI_AGAIN, "the name server does not answer")

    def _begin(self, question: Question) -> _LookUp:
        """Ask in a system task, which outlives the asking task as its thread does."""
        look_up = self._under_way[question] = _LookUp()
        trio.lowlevel.spawn_system_task(self._ask, question, look_up)
        return look_up

    async def _ask(self, question: Question, look_up: _LookUp) -> None:
        try:
            addresses = await trio.to_thread.run_sync(
                socket.getaddrinfo, *question, limiter=self._threads, abandon_on_cancel=True
            )
        except (OSError, UnicodeError) as error:
            look_up.error = error
        except Exception as error:  # an exception of a system task would end the process
            look_up.error = OSError(f"looking up a host name failed: {error!r}")
        else:
            look_up.addresses = addresses
            self._keep(question, addresses)
        finally:
            del self._under_way[question]
            look_up.done.set()

    def _keep(self, question: Question, addresses: Addresses) -> None:
        self._answers.pop(question, None)
        self._answers[question] = trio.current_time(), addresses
        if len(self._answers) > _MOST_ANSWERS:
            del self._answers[next(iter(self._answers))]

    async def getnameinfo(self, sockaddr: tuple[str, int] | tuple[str, int, int, int], flags: int) -> tuple[str, str]:
        """Return the names of an address, as `socket.getnameinfo` does."""
        return await trio.to_thread.run_sync(
            socket.getnameinfo, sockaddr, flags, limiter=self._threads, abandon_on_cancel=True
        )


def _is_final(error: Exception | None) -> bool:
    """Return whether the name server has answered that there is no such host."""
    return isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN
