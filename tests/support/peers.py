"""Real peers, started for a test and gone after it: DCMTK's and Orthanc's archives, DCMTK's senders.

Each archive is a context manager on a free port; entering it returns when it answers. Programs that are not installed
skip the test with the reason (`require`). What an archive prints goes to a log file beside its folder.
"""

import json
import os
import signal
import subprocess
import urllib.request
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

from pynetdicom import ALL_TRANSFER_SYNTAXES, StoragePresentationContexts

from tests.support.archive import Modality, NotAssociated, PynetdicomArchive, Received, store_all
from tests.support.ports import HOST, free_port, listens, until
from tests.support.programs import environment, installed, require
from tests.support.senders import dcmsend, echoscu, storescu

__all__ = [
    "Dcmrecv",
    "Modality",
    "NotAssociated",
    "Orthanc",
    "PynetdicomArchive",
    "Received",
    "Storescp",
    "dcmsend",
    "echoscu",
    "installed",
    "require",
    "store_all",
    "storescu",
]


class Server:
    """A process that listens on `port`; with its children it ends when the context does."""

    def __init__(self, folder: Path, *, port: int | None = None) -> None:
        self.host, self.port, self.folder = HOST, port or free_port(), folder
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        return os.environ

    def ready(self) -> bool:
        return listens(self.port)

    def log(self) -> str:
        return self._log_path.read_text("utf-8", errors="replace")

    @property
    def _log_path(self) -> Path:
        return self.folder.with_name(self.folder.name + ".log")

    def __enter__(self) -> Self:
        program, *arguments = self.command()
        require(program)
        self._log: IO[bytes] = self._log_path.open("ab")
        self._process = subprocess.Popen(
            [str(installed(program)), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=self.environment(),
            start_new_session=True,
        )
        try:
            until(self._answers, f"{program} on port {self.port}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def _answers(self) -> bool:
        assert self._process.poll() is None, f"ended at once:\n{self.log()}"
        return self.ready()

    def __exit__(self, *exc: object) -> None:
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._signal(signal.SIGKILL)
        self._log.close()

    def _signal(self, number: signal.Signals) -> None:
        """To the process and the children it forked, where any is left."""
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return


class Storescp(Server):
    """DCMTK's storescp: writes what it gets bit for bit, in any transfer syntax, each object to a file of its own.

    It accepts what it does not know to be something else than storage; with `sop_classes`, at most 128, these alone.
    `options` are storescp's own, such as "--refuse", "--abort-after" or "--sleep-after", "2".
    """

    def __init__(
        self,
        folder: Path,
        *,
        ae_title: str = "STORESCP",
        port: int | None = None,
        sop_classes: Collection[str] = (),
        bit_preserving: bool = True,
        fork: bool = False,
        nodelay: bool = True,
        options: Sequence[str] = (),
    ) -> None:
        super().__init__(folder, port=port)
        self.ae_title, self._nodelay = ae_title, nodelay
        self._options = ["-dhl", "-aet", ae_title, "-od", str(folder), *options]
        self._options += ["+B"] if bit_preserving else []
        self._options += ["--fork"] if fork else []
        self._profile = self._association_profile(sop_classes) if sop_classes else []

    def command(self) -> list[str]:
        accepted = self._profile or ["-pm", "+xa"]
        return ["storescp", *accepted, "+uf", *self._options, str(self.port)]

    def environment(self) -> Mapping[str, str]:
        return environment(self._nodelay)

    def files(self) -> list[Path]:
        """What it has written, or is about to have written."""
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    def _association_profile(self, sop_classes: Collection[str]) -> list[str]:
        """The options that make DCMTK accept these SOP classes, each in all transfer syntaxes."""
        syntaxes = [f"TransferSyntax{n} = {uid}" for n, uid in enumerate(ALL_TRANSFER_SYNTAXES, 1)]
        contexts = [f"PresentationContext{n} = {uid}\\Any" for n, uid in enumerate(sop_classes, 1)]
        sections = {
            "[[TransferSyntaxes]]\n[Any]": syntaxes,
            "[[PresentationContexts]]\n[Storage]": contexts,
            "[[Profiles]]": ["[Default]", "PresentationContexts = Storage", ""],
        }
        path = self.folder.with_name(self.folder.name + ".cfg")
        path.write_text("\n".join(line for title, lines in sections.items() for line in (title, *lines)), "utf-8")
        return ["-xf", str(path), "Default"]


class Dcmrecv(Storescp):
    """DCMTK's dcmrecv, for the 128 most common storage SOP classes unless told which."""

    def __init__(
        self, folder: Path, *, ae_title: str = "DCMRECV", sop_classes: Collection[str] = (), **rest: Any
    ) -> None:
        common = [context.abstract_syntax or "" for context in StoragePresentationContexts]
        super().__init__(folder, ae_title=ae_title, sop_classes=sop_classes or common, **rest)

    def command(self) -> list[str]:
        return ["dcmrecv", *self._profile, "+fu", *self._options, str(self.port)]


class Orthanc(Server):
    """Orthanc in a folder of its own, without plugins, accepting every SOP class and every standard transfer syntax.

    It parses what it gets and may write it anew, so its files are equal in content, not always in bytes.
    """

    def __init__(self, folder: Path, *, ae_title: str = "ORTHANC", port: int | None = None, **settings: Any) -> None:
        super().__init__(folder, port=port)
        self.ae_title, self.http_port = ae_title, free_port()
        self._configuration = folder.with_name(folder.name + ".json")
        self._configuration.write_text(json.dumps({**self._settings(), **settings}), "utf-8")

    def _settings(self) -> dict[str, Any]:
        return {
            "Name": self.ae_title,
            "StorageDirectory": str(self.folder),
            "IndexDirectory": str(self.folder),
            "Plugins": [],
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAet": self.ae_title,
            "DicomPort": self.port,
            "DicomCheckCalledAet": False,
            "DicomAlwaysAllowEcho": True,
            "DicomAlwaysAllowStore": True,
            "UnknownSopClassAccepted": True,
            "AcceptedTransferSyntaxes": ["*"],
            "OverwriteInstances": True,
            "SaveJobs": False,
        }

    def command(self) -> list[str]:
        return ["Orthanc", str(self._configuration)]

    def ready(self) -> bool:
        return listens(self.http_port) and listens(self.port) and bool(self._json("system"))

    def instances(self) -> dict[str, str]:
        """Orthanc's identifiers by SOP Instance UID."""
        listed = self._json("instances?expand")
        return {one["MainDicomTags"]["SOPInstanceUID"]: one["ID"] for one in listed}

    def file(self, identifier: str) -> bytes:
        """The stored file, as Orthanc wrote it."""
        return self._request("GET", f"instances/{identifier}/file")

    def delete(self, identifier: str) -> None:
        self._request("DELETE", f"instances/{identifier}")

    def _json(self, path: str) -> Any:
        return json.loads(self._request("GET", path))

    def _request(self, method: str, path: str) -> bytes:
        request = urllib.request.Request(f"http://{HOST}:{self.http_port}/{path}", method=method)
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.read()
