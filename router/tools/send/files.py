"""Which files there are to send: those named, those in the folders named, those that a DICOMDIR names (PS3.10 8)."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import pydicom
from attrs import frozen
from pydicom.multival import MultiValue

from router.dicom.part10 import NotDICOM, read_head

_DICOMDIR: Final = "DICOMDIR"
"""The one name that a directory file has on a medium (PS3.10 8.6)."""
MEDIA_STORAGE_DIRECTORY: Final = "1.2.840.10008.1.3.10"


@frozen
class FoundFiles:
    """A file that may be sent."""

    path: Path
    named: bool
    """Somebody named this very file, so that it is a failure if it cannot be sent; a folder may hold anything."""


def find(paths: Iterable[Path]) -> Iterator[FoundFiles]:
    """Every file of `paths`, folders with all that is below them, in a fixed order. Links to folders are not
    followed.

    Raises:
        NotDICOM: a DICOMDIR that was named is broken.
    """
    for path in paths:
        if path.is_dir():
            yield from _in_folder(path)
        elif is_directory_file(path):
            yield from _in_directory_file(path)
        else:
            yield FoundFiles(path, True)


def is_directory_file(path: Path) -> bool:
    """Whether it is a DICOMDIR, whatever its name."""
    try:
        with path.open("rb") as file:
            return read_head(file).sop_class_uid == MEDIA_STORAGE_DIRECTORY
    except (NotDICOM, OSError):
        return False


def _in_folder(folder: Path) -> Iterator[FoundFiles]:
    """A DICOMDIR on the way adds nothing: its files are in the folder."""
    for where, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(where, name)
            if path.is_file() and not (name.upper() == _DICOMDIR and is_directory_file(path)):
                yield FoundFiles(path, False)


def _in_directory_file(path: Path) -> Iterator[FoundFiles]:
    for components in _references(path):
        yield FoundFiles(_below(path.parent, components), True)


def _references(path: Path) -> list[list[str]]:
    """The File IDs of all records of a DICOMDIR."""
    try:
        records = pydicom.dcmread(path).get("DirectoryRecordSequence") or ()
        references = [record["ReferencedFileID"].value for record in records if "ReferencedFileID" in record]
    except Exception as error:  # whatever pydicom makes of a directory that is broken
        raise NotDICOM(f"{path} is no DICOMDIR that can be read: {error}") from error
    lists = (list(value) if isinstance(value, MultiValue) else [value] for value in references if value)
    return [[str(component).strip() for component in components] for components in lists]


def _below(folder: Path, components: Iterable[str]) -> Path:
    """The file that a File ID means (PS3.10 8.2), never outside of `folder`. A medium may have been copied with its
    names in small letters."""
    for component in components:
        name = component if component not in ("", ".", "..") and "/" not in component else "_"
        there = folder / name
        folder = there if there.exists() else folder / name.lower()
    return folder
