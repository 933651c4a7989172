"""Find the files to send: files, all files below a folder, and the files that a DICOMDIR names (PS3.10 8)."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import pydicom
from attrs import frozen
from pydicom.multival import MultiValue

from router.dicom.part10 import NotDICOM, read_head

_DICOMDIR: Final = "DICOMDIR"
"""The name of a directory file on a medium (PS3.10 8.6)."""
MEDIA_STORAGE_DIRECTORY: Final = "1.2.840.10008.1.3.10"


@frozen
class FoundFile:
    """A file that may be sent."""

    path: Path
    named: bool
    """Whether the file itself was named: then it is a failure if it cannot be sent, unlike one in a folder."""


def find(paths: Iterable[Path]) -> Iterator[FoundFile]:
    """Yield the files of `paths` and those below its folders, in a fixed order. Links to folders are not followed.

    Raises:
        NotDICOM: a DICOMDIR that was named cannot be read.
    """
    for path in paths:
        if path.is_dir():
            yield from _in_folder(path)
        elif is_directory_file(path):
            yield from _in_directory_file(path)
        else:
            yield FoundFile(path, True)


def is_directory_file(path: Path) -> bool:
    """Return whether a file is a DICOMDIR, whatever its name."""
    try:
        with path.open("rb") as file:
            return read_head(file).sop_class_uid == MEDIA_STORAGE_DIRECTORY
    except (NotDICOM, OSError):
        return False


def _in_folder(folder: Path) -> Iterator[FoundFile]:
    """Yield the files below a folder, without a DICOMDIR, whose files are in the folder anyway."""
    for where, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(where, name)
            if path.is_file() and not (name.upper() == _DICOMDIR and is_directory_file(path)):
                yield FoundFile(path, False)


def _in_directory_file(path: Path) -> Iterator[FoundFile]:
    for components in _references(path):
        yield FoundFile(_below(path.parent, components), True)


def _references(path: Path) -> list[list[str]]:
    """Return the File IDs of all records of a DICOMDIR."""
    try:
        records = pydicom.dcmread(path).get("DirectoryRecordSequence") or ()
        references = [record["ReferencedFileID"].value for record in records if "ReferencedFileID" in record]
    except Exception as error:  # pydicom raises many kinds for a broken directory
        raise NotDICOM(f"{path} cannot be read as a DICOMDIR: {error}") from error
    lists = (list(value) if isinstance(value, MultiValue) else [value] for value in references if value)
    return [[str(component).strip() for component in components] for components in lists]


def _below(folder: Path, components: Iterable[str]) -> Path:
    """Return the path of a File ID (PS3.10 8.2), never outside of `folder`.

    Names in lower case are found too: media are copied so.
    """
    for component in components:
        name = component if component not in ("", ".", "..") and "/" not in component else "_"
        there = folder / name
        folder = there if there.exists() else folder / name.lower()
    return folder
