"""Read from a file what its C-STORE request needs, and group files that can share an association."""

import mmap
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from sys import intern
from typing import Final

from attrs import frozen

from router.dicom.encoding import MalformedDataSet
from router.dicom.part10 import Head, NotDICOM, read_head
from router.dicom.scanner import scan
from router.dicom.tags import SOP_CLASS_UID, SOP_INSTANCE_UID

MOST_CONTEXTS: Final = 128
"""Presentation contexts of one association: their ids are the odd numbers of a byte (PS3.8 9.3.2.2)."""


@frozen(kw_only=True)
class Instance:
    """A SOP instance in a file."""

    path: Path
    offset: int
    """Offset of the data set in the file, in bytes."""
    length: int
    """Bytes of the data set."""
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax: str

    @property
    def syntaxes(self) -> tuple[str, str]:
        """The abstract and the transfer syntax of its presentation context."""
        return self.sop_class_uid, self.transfer_syntax


def examine(path: Path) -> Instance:
    """Read the file meta information and the two UIDs of an instance.

    The UIDs of the data set count; those of the meta information are used if the data set lacks them or is malformed.

    Raises:
        NotDICOM: it is not a DICOM file, or it has no UIDs in either place.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        head = read_head(file)
        size = file.seek(0, os.SEEK_END)
    found = _identity(path, head)
    sop_class_uid = _only(found, SOP_CLASS_UID) or head.sop_class_uid
    sop_instance_uid = _only(found, SOP_INSTANCE_UID) or head.sop_instance_uid
    if not sop_class_uid or not sop_instance_uid:
        raise NotDICOM(f"it has no SOP {'Instance' if sop_class_uid else 'Class'} UID")
    return Instance(
        path=path,
        offset=head.length,
        length=size - head.length,
        sop_class_uid=intern(sop_class_uid),
        sop_instance_uid=sop_instance_uid,
        transfer_syntax=intern(head.transfer_syntax),
    )


def _identity(path: Path, head: Head) -> Mapping[int, tuple[str, ...]]:
    try:
        return elements(path, head.length, head.transfer_syntax, frozenset({SOP_CLASS_UID, SOP_INSTANCE_UID}))
    except MalformedDataSet:
        return {}


def elements(path: Path, offset: int, transfer_syntax: str, wanted: frozenset[int]) -> Mapping[int, tuple[str, ...]]:
    """Return the wanted elements of the data set that begins at `offset` in a file, as `router.dicom.scanner.scan`.

    Raises:
        MalformedDataSet: the data set cannot be read up to the last wanted element.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        if offset >= file.seek(0, os.SEEK_END):
            return {}  # an empty file cannot be mapped
        with (
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            memoryview(mapped) as whole,
            whole[offset:] as data,
        ):
            return scan(data, transfer_syntax, wanted)


def _only(found: Mapping[int, tuple[str, ...]], tag: int) -> str:
    values = found.get(tag, ())
    return values[0] if len(values) == 1 else ""


def batches(instances: Iterable[Instance]) -> Iterator[Sequence[Instance]]:
    """Group instances that can share an association: one context for each pair of syntaxes, at most 128."""
    by_syntaxes: dict[tuple[str, str], list[Instance]] = {}
    for instance in instances:
        by_syntaxes.setdefault(instance.syntaxes, []).append(instance)
    pairs = list(by_syntaxes)
    for at in range(0, len(pairs), MOST_CONTEXTS):
        yield [instance for pair in pairs[at : at + MOST_CONTEXTS] for instance in by_syntaxes[pair]]
