"""Which files there are to send: those named, those in the folders named, those that a DICOMDIR names (PS3.10 8)."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import pydicom
from attrs import frozen
from pydicom.multival import MultiValue

from router.part10 import NotDICOM, read_head

MEDIA_STORAGE_DIRECTORY: Final = "1.2.840.10008.1.3.10"


@frozen
class Found:
    """A file that may be sent."""

    path: Path
    named: bool
    """Somebody named this very file, so that it is a failure if it cannot be sent; a folder may hold anything."""


def find(paths: Iterable[Path]) -> Iterator[Found]:
    """Every file of `paths`, folders with all that is below them, in a fixed order. Links to folders are not
    followed."""
    for path in paths:
        if path.is_dir():
            yield from _in_folder(path)
        elif is_directory_file(path):
            yield from _in_directory_file(path)
        else:
            yield Found(path, True)


def is_directory_file(path: Path) -> bool:
    """Whether it is a DICOMDIR, whatever its name."""
    try:
        with path.open("rb") as file:
            return read_head(file).sop_class_uid == MEDIA_STORAGE_DIRECTORY
    except (NotDICOM, OSError):
        return False


def _in_folder(folder: Path) -> Iterator[Found]:
    """A DICOMDIR on the way adds nothing: its files are in the folder."""
    for where, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(where, name)
            if path.is_file() and not is_directory_file(path):
                yield Found(path, False)


def _in_directory_file(path: Path) -> Iterator[Found]:
    records = pydicom.dcmread(path).get("DirectoryRecordSequence") or ()
    for record in records:
        reference = record.get("ReferencedFileID")
        if reference:
            components = list(reference) if isinstance(reference, MultiValue) else [reference]
            yield Found(_below(path.parent, [str(component).strip() for component in components]), True)


def _below(folder: Path, components: Iterable[str]) -> Path:
    """The file that a File ID means (PS3.10 8.2), never outside of `folder`. A medium may have been copied with its
    names in small letters."""
    for component in components:
        name = component if component not in ("", ".", "..") and "/" not in component else "_"
        there = folder / name
        folder = there if there.exists() else folder / name.lower()
    return folder
