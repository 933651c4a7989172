"""The aims of the router compared with other programs, as ratios within one run, and whether they are met."""

from collections.abc import Sequence
from typing import Final, Literal

from attrs import frozen

from benchmarks.readings import Series

ROUTER: Final = "router"
FORWARDING: Final = "router while forwarding"
WITHOUT_NAGLE: Final = "router, sender without Nagle"
NONE_WAITING: Final = "router with none waiting"
STORESCP: Final = "storescp"
STORESCP_FORK: Final = "storescp --fork"
PYNETDICOM: Final = "pynetdicom relay"
DCMJS: Final = "dcmjs-dimse relay"
ORTHANC: Final = "Orthanc auto-forward"
TCP: Final = "raw TCP relay"
RAW_RECEIVE: Final = "raw synced receive"
STORESCU: Final = "storescu"

OBJECTS: Final = "objects/s"
ACKNOWLEDGED: Final = "objects/s acknowledged"
DELIVERED: Final = "objects/s delivered"
MEGABYTES: Final = "MB/s"
P50: Final = "p50 ms"
P99: Final = "p99 ms"
P99_BY_P50: Final = "p99 by p50"
ABOVE_IDLE: Final = "MiB above idle"
CPU: Final = "us of CPU an object"
GENERATOR_CPU: Final = "us of CPU an object, generator"
SINK_CPU: Final = "us of CPU an object, sink"
CORES_LEFT: Final = "cores left"
BUSIEST: Final = "busiest process of generator and sink, share of a core"

_FULL: Final = 0.9
"""Share of a core at which the generator or the sink was the limit."""


@frozen(kw_only=True)
class Aim:
    """A bound for the ratio of the `quantity` of `side` to that of `peer`, in one workload of one case.

    Without a peer, the bound is for the number itself.
    """

    work: str
    """Description for the tables."""
    case: str
    workload: str
    quantity: str
    peer: str | None
    bound: Literal["at least", "at most"]
    value: float
    side: str = ROUTER

    @property
    def bound_text(self) -> str:
        return f"{self.bound} {self.value:g}{'x' if self.peer else ''}"


@frozen(kw_only=True)
class AimResult:
    """The result of an aim; None for what was not measured."""

    aim: Aim
    router: Series | None
    peer: Series | None
    ratio: float | None
    met: bool | None
    cores_left: float | None
    limited: bool
    """Whether the generator or the sink was the limit, not the router."""
    above_idle: float | None
    """MiB of the router."""


def _least(work: str, case: str, workload: str, quantity: str, peer: str, value: float, side: str = ROUTER) -> Aim:
    return Aim(
        work=work, case=case, workload=workload, quantity=quantity, peer=peer, bound="at least", value=value, side=side
    )


def _most(work: str, case: str, workload: str, quantity: str, value: float) -> Aim:
    return Aim(work=work, case=case, workload=workload, quantity=quantity, peer=None, bound="at most", value=value)


AIMS: Final = (
    _least("receive 12 kB while forwarding", "receive", "12 kB", OBJECTS, STORESCP, 1, FORWARDING),
    _least("receive 525 kB while forwarding", "receive", "525 kB", MEGABYTES, STORESCP, 1, FORWARDING),
    _least("receive 240 MB while forwarding", "receive", "240 MB", MEGABYTES, STORESCP, 1.2, FORWARDING),
    _least("receive 12 kB, 16 associations", "receive", "12 kB, 16 associations", OBJECTS, STORESCP_FORK, 3),
    _least("receive 525 kB, 1 association", "receive", "525 kB", MEGABYTES, RAW_RECEIVE, 0.8),
    _least("end to end, 12 kB", "end-to-end", "12 kB", OBJECTS, TCP, 0.5),
    _least("end to end, 525 kB", "end-to-end", "525 kB", MEGABYTES, TCP, 0.7),
    _least("end to end, 240 MB", "end-to-end", "240 MB", MEGABYTES, TCP, 0.9),
    _least("end to end, 12 kB", "end-to-end", "12 kB", OBJECTS, PYNETDICOM, 10),
    _least("end to end, 525 kB", "end-to-end", "525 kB", OBJECTS, PYNETDICOM, 6),
    _least("end to end, 525 kB", "end-to-end", "525 kB", OBJECTS, ORTHANC, 20),
    _least("receive 12 kB, sender with Nagle", "receive", "12 kB, Nagle", OBJECTS, WITHOUT_NAGLE, 0.5),
    _most("p99 by p50 at half the top rate, 12 kB", "latency", "12 kB at half the top rate", P99_BY_P50, 4),
    _most("p99 by p50 at half the top rate, 525 kB", "latency", "525 kB at half the top rate", P99_BY_P50, 4),
    _least("acceptance, 1,000,000 waiting", "backlog", "1,000,000 waiting", ACKNOWLEDGED, NONE_WAITING, 0.9),
    _least("delivery, 1,000,000 waiting", "backlog", "1,000,000 waiting", DELIVERED, NONE_WAITING, 0.9),
    _most("peak RSS, 50 destinations at once", "memory", "50 destinations", ABOVE_IDLE, 64),
    _most("peak RSS, 500 open associations", "memory", "500 associations", ABOVE_IDLE, 64),
    _most("peak RSS, objects of 12 kB", "memory", "12 kB", ABOVE_IDLE, 64),
    _most("peak RSS, objects of 525 kB", "memory", "525 kB", ABOVE_IDLE, 64),
    _most("peak RSS, objects of 240 MB", "memory", "240 MB", ABOVE_IDLE, 64),
    _most("peak RSS, an object of 2 GiB", "memory", "2 GiB", ABOVE_IDLE, 64),
    _most("peak RSS, a backlog", "memory", "backlog", ABOVE_IDLE, 64),
    _most("CPU, 12 kB received and delivered", "end-to-end", "12 kB", CPU, 330),
    _least("50 ms round trip, 12 kB, two routers", "link", "12 kB, 50 ms round trip", OBJECTS, STORESCU, 20),
)


def check_aims(series: Sequence[Series], aims: Sequence[Aim] = AIMS) -> list[AimResult]:
    """Compare the medians with each aim."""
    found = {(one.case, one.workload, one.quantity, one.side): one for one in series}
    return [_check(aim, found) for aim in aims]


def _check(aim: Aim, found: dict[tuple[str, str, str, str], Series]) -> AimResult:
    def median(quantity: str) -> float | None:
        series = found.get((aim.case, aim.workload, quantity, aim.side))
        return None if series is None else series.median

    router = found.get((aim.case, aim.workload, aim.quantity, aim.side))
    peer = found.get((aim.case, aim.workload, aim.quantity, aim.peer)) if aim.peer else None
    ratio = met = None
    if router is not None and (not aim.peer or (peer is not None and peer.median)):
        ratio = router.median / peer.median if peer is not None else router.median
        met = ratio >= aim.value if aim.bound == "at least" else ratio <= aim.value
    return AimResult(
        aim=aim,
        router=router,
        peer=peer,
        ratio=ratio,
        met=met,
        cores_left=median(CORES_LEFT),
        limited=(median(BUSIEST) or 0.0) >= _FULL,
        above_idle=median(ABOVE_IDLE),
    )
