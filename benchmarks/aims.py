"""The aims of the router compared with other programs, as ratios within one run, and whether they are met."""

from collections.abc import Sequence
from typing import Final, Literal

from attrs import frozen

from benchmarks.readings import Series

ROUTER: Final = "router"
NONE_WAITING: Final = "router with none waiting"
STORESCP: Final = "storescp"
STORESCP_FORK: Final = "storescp --fork"
PYNETDICOM: Final = "pynetdicom relay"
DCMJS: Final = "dcmjs-dimse relay"
ORTHANC: Final = "Orthanc auto-forward"
TCP: Final = "raw TCP relay"
STORESCU: Final = "storescu"

OBJECTS: Final = "objects/s"
ACKNOWLEDGED: Final = "objects/s acknowledged"
DELIVERED: Final = "objects/s delivered"
MEGABYTES: Final = "MB/s"
P50: Final = "p50 ms"
P99: Final = "p99 ms"
ABOVE_IDLE: Final = "MiB above idle"


@frozen(kw_only=True)
class Aim:
    """A bound for the ratio of the router's `quantity` to that of `peer`, in one workload of one case.

    Without a peer, the bound is for the router's number itself.
    """

    work: str
    """Description for the tables."""
    case: str
    workload: str
    quantity: str
    peer: str | None
    bound: Literal["at least", "at most"]
    value: float

    @property
    def bound_text(self) -> str:
        return f"{self.bound} {self.value:g}{'x' if self.peer else ''}"


@frozen(kw_only=True)
class AimResult:
    """The result of an aim; None for what was not measured."""

    aim: Aim
    router: float | None
    peer: float | None
    ratio: float | None
    met: bool | None


def _at_least(work: str, case: str, workload: str, quantity: str, peer: str, value: float) -> Aim:
    return Aim(work=work, case=case, workload=workload, quantity=quantity, peer=peer, bound="at least", value=value)


def _at_most(work: str, case: str, workload: str, quantity: str, value: float) -> Aim:
    return Aim(work=work, case=case, workload=workload, quantity=quantity, peer=None, bound="at most", value=value)


AIMS: Final = (
    _at_least("receive 525 kB, 1 association", "receive", "525 kB", MEGABYTES, STORESCP, 2),
    _at_least("receive 240 MB, 1 association", "receive", "240 MB", MEGABYTES, STORESCP, 3),
    _at_least("receive 12 kB, 1 association", "receive", "12 kB", OBJECTS, STORESCP, 0.7),
    _at_least("receive 12 kB, 16 associations", "receive", "12 kB, 16 associations", OBJECTS, STORESCP_FORK, 2),
    _at_least("receive 12 kB, sender with Nagle", "receive", "12 kB, Nagle", OBJECTS, STORESCP, 200),
    _at_least("end to end, 12 kB", "end-to-end", "12 kB", OBJECTS, PYNETDICOM, 8),
    _at_least("end to end, 525 kB", "end-to-end", "525 kB", OBJECTS, PYNETDICOM, 5),
    _at_least("end to end, 240 MB", "end-to-end", "240 MB", MEGABYTES, PYNETDICOM, 5),
    _at_least("end to end, 525 kB", "end-to-end", "525 kB", OBJECTS, ORTHANC, 25),
    _at_least("end to end, 525 kB", "end-to-end", "525 kB", MEGABYTES, TCP, 0.6),
    _at_least("end to end, 240 MB", "end-to-end", "240 MB", MEGABYTES, TCP, 0.8),
    _at_least("50 ms round trip, 12 kB, two routers", "link", "12 kB, 50 ms round trip", OBJECTS, STORESCU, 20),
    _at_least("acceptance, 1,000,000 waiting", "backlog", "1,000,000 waiting", ACKNOWLEDGED, NONE_WAITING, 0.9),
    _at_least("delivery, 1,000,000 waiting", "backlog", "1,000,000 waiting", DELIVERED, NONE_WAITING, 0.9),
    _at_most("peak RSS, objects of 12 kB", "memory", "12 kB", ABOVE_IDLE, 64),
    _at_most("peak RSS, objects of 525 kB", "memory", "525 kB", ABOVE_IDLE, 64),
    _at_most("peak RSS, objects of 240 MB", "memory", "240 MB", ABOVE_IDLE, 64),
    _at_most("peak RSS, an object of 2 GiB", "memory", "2 GiB", ABOVE_IDLE, 64),
    _at_most("peak RSS, a backlog", "memory", "backlog", ABOVE_IDLE, 64),
    _at_most("p99 by p50 at half the top rate, 525 kB", "latency", "525 kB at half the top rate", "p99 by p50", 5),
)


def check_aims(series: Sequence[Series], aims: Sequence[Aim] = AIMS) -> list[AimResult]:
    """Compare the medians with each aim."""
    medians = {(one.case, one.workload, one.quantity, one.side): one.median for one in series}
    return [_check(aim, medians) for aim in aims]


def _check(aim: Aim, medians: dict[tuple[str, str, str, str], float]) -> AimResult:
    thing = aim.case, aim.workload, aim.quantity
    router = medians.get((*thing, ROUTER))
    peer = medians.get((*thing, aim.peer)) if aim.peer else None
    if router is None or (aim.peer and not peer):
        return AimResult(aim=aim, router=router, peer=peer, ratio=None, met=None)
    ratio = router / peer if peer else router
    met = ratio >= aim.value if aim.bound == "at least" else ratio <= aim.value
    return AimResult(aim=aim, router=router, peer=peer, ratio=ratio, met=met)
