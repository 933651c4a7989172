"""Objects to send: pydicom's own test files, and a series made of one of them."""

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


def write_objects(folder: Path, count: int, told: Callable[[int], None]) -> list[Instance]:
    """A CT series of `count` objects of its own UIDs, written to `folder`; and every file of pydicom's that can be
    stored. `told` hears how many of the series are written."""
    series = [examine(path) for path in _series(folder, count, told)]
    return [*series, *_test_files()]


def _series(folder: Path, count: int, told: Callable[[int], None]) -> list[Path]:
    template = pydicom.dcmread(_ROOT / "CT_small.dcm")
    paths = []
    for number in range(count):
        uid = generate_uid()
        template.SOPInstanceUID = template.file_meta.MediaStorageSOPInstanceUID = uid
        template.InstanceNumber = number + 1
        paths.append(folder / f"{number:05}.dcm")
        template.save_as(paths[-1])
        told(number + 1)
    return paths


def _test_files() -> list[Instance]:
    """One instance for each SOP Instance UID: the same UID with other bytes would be a duplicate, which is another
    demonstration."""
    instances: dict[str, Instance] = {}
    with catch_warnings():
        simplefilter("ignore")  # pydicom's oddities are what its test files are for
        for path in sorted(_ROOT.glob("*.dcm")):
            if path.stat().st_size <= _LARGEST:
                try:
                    instance = examine(path)
                except NotDICOM:
                    continue
                instances.setdefault(instance.sop_instance_uid, instance)
    return list(instances.values())
