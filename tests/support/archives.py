"""Archives that answer Query/Retrieve, started for a test: DCMTK's dcmqrscp, filled with made objects."""

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import frozen

from tests.support.objects import Instance
from tests.support.peers import Server
from tests.support.programs import environment, installed, require
from tests.support.senders import storescu


class Dcmqrscp(Server):
    """DCMTK's dcmqrscp. `moves` are the AE titles that it may send to, with their ports."""

    def __init__(
        self,
        folder: Path,
        *,
        ae_title: str = "QRSCP",
        port: int | None = None,
        moves: Mapping[str, int],
        options: Sequence[str] = (),
    ) -> None:
        super().__init__(folder, port=port)
        self.ae_title, self._options = ae_title, options
        store = folder / "store"
        store.mkdir(parents=True, exist_ok=True)
        hosts = [f"h{number} = ({title}, localhost, {port})" for number, (title, port) in enumerate(moves.items())]
        lines = [
            f"NetworkTCPPort = {self.port}",
            "MaxPDUSize = 16384",
            "MaxAssociations = 32",
            "HostTable BEGIN",
            *hosts,
            "HostTable END",
            "VendorTable BEGIN",
            "VendorTable END",
            "AETable BEGIN",
            f"{ae_title} {store} RW (1000, 16384mb) ANY",
            "AETable END",
        ]
        self._configuration = folder.with_name(folder.name + ".cfg")
        self._configuration.write_text("\n".join(lines) + "\n", "utf-8")

    def command(self) -> list[str]:
        return ["dcmqrscp", "-c", str(self._configuration), *self._options]

    def environment(self) -> Mapping[str, str]:
        return environment(True)

    def fill(self, instances: Sequence[Instance], folder: Path) -> None:
        """Store instances in it, with their transfer syntaxes."""
        folder.mkdir(parents=True, exist_ok=True)
        files = [instance.write(folder) for instance in instances]
        done = storescu(self.host, self.port, files, called_ae=self.ae_title, nodelay=True)
        assert done.returncode == 0, done.stdout


@frozen
class Moved:
    """What movescu or getscu has seen."""

    returncode: int
    stdout: str

    @property
    def responses(self) -> list[dict[str, int]]:
        """Status and counts of each response."""
        found = []
        for message in re.findall(r"INCOMING DIMSE MESSAGE.*?END DIMSE", self.stdout, re.DOTALL):
            if re.search(r"Message Type +: C-(MOVE|GET) RSP", message):
                counts = re.findall(r"(Remaining|Completed|Failed|Warning) Suboperations +: (\d+)", message)
                status = re.search(r"DIMSE Status +: 0x([0-9a-f]{4})", message)
                assert status
                found.append({"status": int(status[1], 16), **{name.lower(): int(count) for name, count in counts}})
        return found

    @property
    def final(self) -> dict[str, int]:
        """Status and counts of the final response."""
        return self.responses[-1]

    @property
    def pending(self) -> list[dict[str, int]]:
        """The counts of each pending response."""
        return [{name: one[name] for name in one if name != "status"} for one in self.responses[:-1]]

    @property
    def failed(self) -> list[str]:
        """The Failed SOP Instance UID List of the final response."""
        listed = re.search(r"\(0008,0058\) UI \[(.*?)\]", self.stdout)
        return listed[1].split("\\") if listed else []


def movescu(port: int, destination: str, *keys: str, options: Sequence[str] = ("-S",)) -> Moved:
    """Ask the AE ROUTER on a port of this host to move what has these keys to a destination."""
    return _run("movescu", [*options, "-aem", destination], port, keys)


def getscu(port: int, folder: Path, *keys: str, options: Sequence[str] = ("-S",)) -> Moved:
    """Get what has these keys from the AE ROUTER into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    return _run("getscu", [*options, "-od", str(folder)], port, keys)


def _run(program: str, options: Sequence[str], port: int, keys: Sequence[str]) -> Moved:
    require(program)
    arguments = [part for key in keys for part in ("-k", key)]
    done = subprocess.run(
        [
            str(installed(program)),
            "-d",
            "-aet",
            "READER",
            "-aec",
            "ROUTER",
            *options,
            *arguments,
            "127.0.0.1",
            str(port),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
        env=dict(environment(True)),
    )
    return Moved(done.returncode, done.stdout)
