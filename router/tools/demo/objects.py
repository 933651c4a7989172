"""Objects to send: the test files of pydicom, and a series made from one of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Final
from warnings import catch_warnings, simplefilter

import pydicom
from pydicom.uid import generate_uid

from router.dicom.part10 import NotDICOM
from router.tools.send import Instance, examine

_ROOT: Final = Path(pydicom.__file__).parent / "data" / "test_files"
_LARGEST: Final = 4 << 20
"""Bytes of the largest test file to send."""


def write_objects(folder: Path, count: int, progress: Callable[[int], None]) -> list[Instance]:
    """Write a CT series of `count` objects with new UIDs to `folder`; return it and all test files that can be stored.

    `progress` is called with the number of objects written so far.
    """
    series = [examine(path) for path in _series(folder, count, progress)]
    return [*series, *_test_files()]


def _series(folder: Path, count: int, progress: Callable[[int], None]) -> list[Path]:
    template = pydicom.dcmread(_ROOT / "CT_small.dcm")
    paths = []
    for number in range(count):
        uid = generate_uid()
        template.SOPInstanceUID = template.file_meta.MediaStorageSOPInstanceUID = uid
        template.InstanceNumber = number + 1
        paths.append(folder / f"{number:05}.dcm")
        template.save_as(paths[-1])
        progress(number + 1)
    return paths


def _test_files() -> list[Instance]:
    """Return one instance for each SOP Instance UID: the same UID with other bytes would be refused as a duplicate."""
    instances: dict[str, Instance] = {}
    with catch_warnings():
        simplefilter("ignore")  # the test files are malformed on purpose
        for path in sorted(_ROOT.glob("*.dcm")):
            if path.stat().st_size <= _LARGEST:
                try:
                    instance = examine(path)
                except NotDICOM:
                    continue
                instances.setdefault(instance.sop_instance_uid, instance)
    return list(instances.values())
