"""Real query/retrieve and worklist SCPs: DCMTK's dcmqrscp and wlmscpfs, with what a test puts into them."""

import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, SecondaryCaptureImageStorage

from tests.support.objects import Instance, new_uid
from tests.support.peers import Server
from tests.support.programs import environment, installed, require


class Dcmqrscp(Server):
    """DCMTK's archive, over all objects that it is given; `destinations` are those of its C-MOVE, by AE title."""

    def __init__(
        self,
        folder: Path,
        *,
        ae_title: str = "DCMQRSCP",
        destinations: Mapping[str, int] | None = None,
        port: int | None = None,
        options: Sequence[str] = (),
    ) -> None:
        super().__init__(folder, port=port)
        self.ae_title, self._options = ae_title, options
        self._config = folder.with_name(folder.name + ".cfg")
        hosts = [f"h{n} = ({title}, 127.0.0.1, {at})" for n, (title, at) in enumerate((destinations or {}).items())]
        lines = [
            f"NetworkTCPPort = {self.port}",
            "MaxPDUSize = 131072",
            "MaxAssociations = 64",
            "HostTable BEGIN",
            *hosts,
            "HostTable END",
            "VendorTable BEGIN",
            "VendorTable END",
            "AETable BEGIN",
            f"{ae_title} {folder} RW (500, 1024mb) ANY",
            "AETable END",
        ]
        self._config.write_text("\n".join(lines) + "\n", "utf-8")

    def command(self) -> list[str]:
        return ["dcmqrscp", "-c", str(self._config), *self._options]

    def environment(self) -> Mapping[str, str]:
        return environment(nodelay=True)

    def add(self, instances: Iterable[Instance]) -> None:
        """Put objects into the archive; call it before the archive is entered."""
        require("dcmqridx")
        files = [str(instance.write(self.folder)) for instance in instances]
        for begin in range(0, len(files), 500):
            command = [str(installed("dcmqridx")), str(self.folder), *files[begin : begin + 500]]
            subprocess.run(command, check=True, capture_output=True, env=self.environment())


class Wlmscpfs(Server):
    """DCMTK's RIS: a worklist of the data sets that a test gives it."""

    def __init__(self, folder: Path, *, ae_title: str = "WLMSCPFS", port: int | None = None) -> None:
        super().__init__(folder, port=port)
        self.ae_title = ae_title
        (folder / ae_title).mkdir(parents=True, exist_ok=True)
        (folder / ae_title / "lockfile").touch()

    def command(self) -> list[str]:
        return ["wlmscpfs", "-dfp", str(self.folder), "-dfr", str(self.port)]

    def add(self, *steps: Dataset) -> None:
        """Put scheduled procedure steps into the worklist."""
        for step in steps:
            step.file_meta = FileMetaDataset()
            step.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            step.file_meta.MediaStorageSOPClassUID = UID("1.2.276.0.7230010.3.1.0.1")
            step.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
            number = len(list((self.folder / self.ae_title).iterdir()))
            step.save_as(self.folder / self.ae_title / f"{number}.wl", enforce_file_format=True)


def image(
    patient: str,
    study: str,
    *,
    series: str = "",
    uid: str = "",
    sop_class: str = SecondaryCaptureImageStorage,
    modality: str = "OT",
    name: str = "",
    transfer_syntax: str = ExplicitVRLittleEndian,
) -> Instance:
    """A small object of a patient and a study, in Explicit or Implicit VR Little Endian."""
    one = Dataset()
    one.SpecificCharacterSet = "ISO_IR 100"
    one.SOPClassUID, one.SOPInstanceUID = UID(sop_class), UID(uid or new_uid())
    one.StudyDate, one.StudyTime, one.AccessionNumber = "20260102", "101500", f"A{patient}"
    one.Modality, one.ModalitiesInStudy = modality, modality
    one.StudyDescription = f"Study of {patient}"
    one.PatientName, one.PatientID = name or f"Name^{patient}", patient
    one.PatientBirthDate, one.PatientSex = "19700101", "O"
    one.StudyInstanceUID, one.SeriesInstanceUID = UID(study), UID(series or f"{study}.1")
    one.StudyID, one.SeriesNumber, one.InstanceNumber = "1", 1, 1
    out = DicomBytesIO()
    out.is_little_endian, out.is_implicit_VR = True, transfer_syntax == ImplicitVRLittleEndian
    write_dataset(out, one)
    return Instance(
        sop_class_uid=sop_class,
        sop_instance_uid=one.SOPInstanceUID,
        transfer_syntax=transfer_syntax,
        data=out.getvalue(),
    )


def scheduled_step(patient: str, modality: str = "CT", step: str = "S1") -> Dataset:
    """A scheduled procedure step, with all that wlmscpfs wants."""
    item = Dataset()
    item.Modality, item.ScheduledStationAETitle = modality, "STATION"
    item.ScheduledProcedureStepStartDate, item.ScheduledProcedureStepStartTime = "20260102", "080000"
    item.ScheduledPerformingPhysicianName = "Doe^Jane"
    item.ScheduledProcedureStepDescription, item.ScheduledProcedureStepID = f"{modality} of the head", step
    one = Dataset()
    one.SpecificCharacterSet = "ISO_IR 100"
    one.AccessionNumber, one.PatientName, one.PatientID = f"A{patient}", f"Name^{patient}", patient
    one.PatientBirthDate, one.PatientSex = "19700101", "O"
    one.StudyInstanceUID, one.RequestedProcedureID = new_uid(), f"R{patient}"
    one.RequestedProcedureDescription = "Head"
    one.ScheduledProcedureStepSequence = [item]
    return one
