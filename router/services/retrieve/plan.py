"""Plan a retrieve: which archive is asked for which instance, by which operation, in which presentation contexts.

Each instance has a list of ways, the first to be tried first: each archive that has it, by C-GET, then by C-MOVE to
ourselves. A way that fails is struck out, and the instance is asked for by its next one. A C-GET proposes one
presentation context for each SOP class and transfer syntax, so that no archive converts; what needs more than an
association can have is split. Pure. Not here: asking (`fetch`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Final

from attrs import frozen

from router.dicom.information_models import IMAGE, SERIES
from router.dicom.uids import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE

MOST_STORAGE_CONTEXTS: Final = 127
"""Presentation contexts of one association (PS3.8 9.3.2.2), without the one of the C-GET."""
MOST_UIDS: Final = 500
"""UIDs in one identifier: a value of VR UI has at most 65534 bytes (PS3.5 7.1.2), and archives have their limits."""

_ENCAPSULATED: Final = "1.2.840.10008.1.2.4."
COMMON_SYNTAXES: Final = (
    EXPLICIT_LE,
    IMPLICIT_LE,
    EXPLICIT_BE,
    "1.2.840.10008.1.2.1.99",  # deflated
    "1.2.840.10008.1.2.5",  # RLE
    *(_ENCAPSULATED + number for number in ("50", "51", "57", "70")),  # JPEG
    *(_ENCAPSULATED + number for number in ("80", "81")),  # JPEG-LS
    *(_ENCAPSULATED + number for number in ("90", "91", "92", "93")),  # JPEG 2000
    *(_ENCAPSULATED + number for number in ("100", "101", "102", "103", "104", "105", "106", "107", "108")),  # video
    *(_ENCAPSULATED + number for number in ("201", "202", "203")),  # HTJ2K
)
"""The transfer syntaxes proposed for an instance of which the archive does not say in which one it has it."""


@frozen(kw_only=True)
class Instance:
    """An instance that an archive has."""

    uid: str
    """SOP Instance UID."""
    study: str
    series: str
    patient: str = ""
    """Patient ID, if it is known."""
    sop_class: str = ""
    """Empty: the archive does not say."""
    transfer_syntaxes: tuple[str, ...] = ()
    """Available Transfer Syntax UID (0008,3002); empty: the archive does not say."""

    @property
    def contexts(self) -> frozenset[tuple[str, str]]:
        """The (SOP class, transfer syntax) pairs in which it may come."""
        return frozenset((self.sop_class, syntax) for syntax in self.transfer_syntaxes or COMMON_SYNTAXES)


class Operation(Enum):
    """How an archive is asked for instances."""

    GET = "C-GET"
    MOVE = "C-MOVE"
    """To ourselves."""


@frozen
class Way:
    """One way to an instance."""

    archive: str
    operation: Operation


class Sources:
    """The ways to each instance that have not failed yet."""

    def __init__(self, found: Mapping[str, Iterable[Instance]], operations: Mapping[str, Sequence[Operation]]) -> None:
        """`found`: what each archive has, the preferred archive first. `operations`: what each archive performs."""
        self._ways: dict[str, list[Way]] = {}
        self._instances: dict[tuple[str, str], Instance] = {}
        for archive, instances in found.items():
            for instance in instances:
                self._instances[archive, instance.uid] = instance
                ways = self._ways.setdefault(instance.uid, [])
                ways += (Way(archive, operation) for operation in operations[archive] if _is_open(operation, instance))

    @property
    def uids(self) -> tuple[str, ...]:
        """The instances, each once."""
        return tuple(self._ways)

    def next(self, wanted: Iterable[str]) -> dict[Way, list[Instance]]:
        """Return what to ask for next. An instance without a way left is not in it."""
        asked: dict[Way, list[Instance]] = {}
        for uid in wanted:
            if ways := self._ways[uid]:
                asked.setdefault(ways[0], []).append(self._instances[ways[0].archive, uid])
        return asked

    def strike(self, way: Way, uids: Iterable[str]) -> None:
        """Strike out a way to some instances."""
        for uid in uids:
            self._ways[uid] = [one for one in self._ways[uid] if one != way]

    def is_closed(self, way: Way) -> None:
        """Strike out a way to all instances: the archive does not perform the operation."""
        self.strike(way, self._ways)

    def is_lost(self, archive: str) -> None:
        """Strike out an archive."""
        for uid, ways in self._ways.items():
            self._ways[uid] = [one for one in ways if one.archive != archive]


def _is_open(operation: Operation, instance: Instance) -> bool:
    """Return whether an operation can be used: a C-GET needs a context, and so the SOP class (PS3.4 C.5.3)."""
    return operation is Operation.MOVE or bool(instance.sop_class)


@frozen(kw_only=True)
class Part:
    """One C-GET or C-MOVE: the instances of one series, or some of them."""

    level: str
    instances: tuple[Instance, ...]


@frozen(kw_only=True)
class Batch:
    """What is asked for on one association."""

    contexts: tuple[tuple[str, str], ...]
    """(SOP class, transfer syntax) of each presentation context, at most 127."""
    parts: tuple[Part, ...]

    @property
    def sop_classes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(sop_class for sop_class, _ in self.contexts))


def batches(
    wanted: Sequence[Instance], sizes: Mapping[str, int], operation: Operation, *, most_uids: int = MOST_UIDS
) -> list[Batch]:
    """Plan the associations on which an archive is asked for instances.

    `sizes`: the number of instances that the archive has of each series, by Series Instance UID: a series of which all
    is wanted on one association is asked for as a whole, any other instance by its UID. `most_uids`: in one identifier.
    """
    if operation is Operation.MOVE:
        return [Batch(contexts=(), parts=tuple(_parts(wanted, sizes, most_uids)))]
    return [
        Batch(contexts=tuple(sorted(contexts)), parts=tuple(_parts(some, sizes, most_uids)))
        for contexts, some in _associations(wanted)
    ]


def _associations(wanted: Sequence[Instance]) -> Iterator[tuple[set[tuple[str, str]], list[Instance]]]:
    """Divide instances among associations by their presentation contexts, first fit."""
    by_contexts: dict[frozenset[tuple[str, str]], list[Instance]] = {}
    for instance in wanted:
        by_contexts.setdefault(instance.contexts, []).append(instance)
    planned: list[tuple[set[tuple[str, str]], list[Instance]]] = []
    for contexts, instances in by_contexts.items():
        for together, others in planned:
            if len(together | contexts) <= MOST_STORAGE_CONTEXTS:
                together |= contexts
                others += instances
                break
        else:
            planned.append((set(contexts), list(instances)))
    yield from planned


def _parts(wanted: Sequence[Instance], sizes: Mapping[str, int], most_uids: int) -> Iterator[Part]:
    by_series: dict[tuple[str, str], list[Instance]] = {}
    for instance in wanted:
        by_series.setdefault((instance.study, instance.series), []).append(instance)
    for (_, series), instances in by_series.items():
        if len(instances) == sizes.get(series):
            yield Part(level=SERIES, instances=tuple(instances))
            continue
        for at in range(0, len(instances), most_uids):
            yield Part(level=IMAGE, instances=tuple(instances[at : at + most_uids]))
