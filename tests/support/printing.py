"""DCMTK's print management: a printer (dcmprscp), a workstation (dcmprscu), and a print job (dcmpsprt)."""

import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from tests.support.peers import Server
from tests.support.ports import HOST
from tests.support.programs import environment

PRINTER_KEYS = r"""
Description = print SCP
Type = LOCALPRINTER
BorderDensity = 150\20\BLACK\WHITE
DisableNewVRs = false
DisplayFormat=1,1\1,2\2,2
EmptyImageDensity = 20\BLACK\WHITE
FilmDestination = MAGAZINE\PROCESSOR
FilmSizeID = 8INX10IN\14INX17IN
ImplicitOnly = false
MagnificationType = REPLICATE\BILINEAR\CUBIC\NONE
MaxDensity = 320
MaxPDU = 32768
MediumType = PAPER\CLEAR FILM
MinDensity = 20
ResolutionID = STANDARD\HIGH
SmoothingType = NONE
Supports12Bit = true
SupportsDecimateCrop = true
SupportsImageSize = true
SupportsPresentationLUT = true
SupportsTrim = true
"""


def dcmtk_configuration(folder: Path, **ports: int) -> Path:
    """Write a dcmpstat.cfg with a printer for each AE title and port; the folder is its data base, too."""
    for name in ("spool", "database", "lut"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    printers = "".join(
        f"[{title}]\nAetitle = {title}\nHostname = {HOST}\nPort = {port}\n{PRINTER_KEYS}\n"
        for title, port in ports.items()
    )
    path = folder / "dcmpstat.cfg"
    path.write_text(
        f"[[GENERAL]]\n[APPLICATION]\nLogDirectory = {folder}\n"
        f"[PRINT]\nDirectory = {folder}/spool\nDetailedLog = true\nDeletePrintJobs = false\n"
        f"[DATABASE]\nDirectory = {folder}/database\n[LUT]\nDirectory = {folder}/lut\n"
        f"[NETWORK]\naetitle = WORKSTATION\n[[COMMUNICATION]]\n{printers}",
        "utf-8",
    )
    return path


class Dcmprscp(Server):
    """A printer with one AE title; what it prints it stores in `database` of its folder."""

    def __init__(self, folder: Path, *, ae_title: str = "PRINTER") -> None:
        super().__init__(folder)
        self.ae_title = ae_title
        self._configuration = dcmtk_configuration(folder, **{ae_title: self.port})

    def command(self) -> list[str]:
        return ["dcmprscp", "-d", "-c", str(self._configuration), "-p", self.ae_title]

    def printed(self, kind: str) -> list[Path]:
        """Return the files of stored prints ("SP") or hardcopy images ("HG")."""
        return sorted((self.folder / "database").glob(f"{kind}_*.dcm"))


def print_job(folder: Path) -> Path:
    """Make a print job of one image with a presentation LUT; return the stored print object."""
    image = _image()
    path = folder / "image.dcm"
    folder.mkdir(parents=True, exist_ok=True)
    image.save_as(path, enforce_file_format=True)
    configuration = dcmtk_configuration(folder, PRINTER=104)
    command = ["dcmpsprt", "-c", str(configuration), "-p", "PRINTER", "--identity", str(path)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    (job,) = (folder / "database").glob("SP_*.dcm")
    return job


def dcmprscu(job: Path, port: int, title: str = "PRINTER") -> tuple[int, list[tuple[str, str]]]:
    """Print a job; return the exit code, and each message with its status ("" for requests)."""
    configuration = dcmtk_configuration(job.parents[1], **{title: port})
    command = ["dcmprscu", "-d", "+d", "-c", str(configuration), "-p", title, str(job)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=dict(environment(True)), check=False)
    messages: list[tuple[str, str]] = []
    for line in (done.stdout + done.stderr).splitlines():
        if found := re.search(r"Message Type +: (N-\S+ RQ|N-\S+ RSP)", line):
            messages.append((found[1], ""))
        elif found := re.search(r"DIMSE Status +: (0x\w+)", line):
            messages[-1] = messages[-1][0], found[1]
    return done.returncode, messages


def _image() -> Dataset:
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
    image.PatientID, image.PatientName, image.StudyID, image.AccessionNumber = "P1", "A^B", "1", "A"
    image.SeriesNumber = image.InstanceNumber = "1"
    image.StudyDate, image.StudyTime, image.Modality, image.ConversionType = "20200101", "120000", "OT", "WSD"
    for empty in ("ReferringPhysicianName", "PatientBirthDate", "PatientSex"):
        setattr(image, empty, "")
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.Rows = image.Columns = 512
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    pixels: Any = np.arange(512 * 512) % 4096
    image.PixelData = pixels.astype("<u2").tobytes()
    return image
