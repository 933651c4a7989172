"""`make setup` installs exactly what requirements.lock pins, whatever the package index offers meanwhile.

Two proofs. The lock is closed: every requirement of everything it pins is met by one of its own pins. And the recipe
itself runs, offline, against an index on which every package has a newer version that the lock does not know.
"""

import base64
import hashlib
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

import attrs
import hatchling.build
import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TOP: Final = Path(__file__).parents[1]
LOCK: Final = TOP / "requirements.lock"
PYPROJECT: Final = tomllib.loads((TOP / "pyproject.toml").read_text())
PYTHONS: Final = ("3.11.0", "3.12.0", "3.13.0")
NEWER: Final = "9999"
"""A version of every package that the lock does not pin."""
FIRST_PIP: Final = {11: "pip==22.3", 12: "pip==23.2.1", 13: "pip==24.2"}.get(sys.version_info.minor, "pip")
"""The one that the first release of this Python brought along."""


@attrs.frozen(kw_only=True)
class Pin:
    """One entry of the lock."""

    requirement: Requirement
    hashes: tuple[str, ...]

    @property
    def name(self) -> str:
        """The canonical name of the distribution."""
        return canonicalize_name(self.requirement.name)

    @property
    def version(self) -> str:
        """The one version that may be installed."""
        (specifier,) = self.requirement.specifier
        assert specifier.operator == "=="
        return specifier.version


def read_lock() -> list[Pin]:
    """Return the entries of requirements.lock in their order."""
    text = re.sub(r"^ *#.*\n", "", LOCK.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [_pin(line) for line in text.splitlines()]


def _pin(line: str) -> Pin:
    requirement, *hashes = line.split("--hash=")
    return Pin(requirement=Requirement(requirement), hashes=tuple(one.strip() for one in hashes))


def environment(python: str) -> dict[str, str]:
    """Return the values of markers on this machine under another version of Python."""
    return _markers() | {"python_full_version": python, "python_version": python.rpartition(".")[0]}


def pins_for(python: str) -> dict[str, Pin]:
    """Return what the lock installs under a version of Python, by name.

    Raises:
        AssertionError: two pins of one package apply.
    """
    values = environment(python)
    pins = [pin for pin in read_lock() if not pin.requirement.marker or pin.requirement.marker.evaluate(values)]
    assert len({pin.name for pin in pins}) == len(pins)
    return {pin.name: pin for pin in pins}


def requirements_of_the_project() -> Iterator[Requirement]:
    """Yield what running, testing and building the project needs."""
    project = PYPROJECT["project"]
    yield from map(Requirement, project["dependencies"])
    yield from map(Requirement, project["optional-dependencies"]["dev"])
    yield from map(Requirement, PYPROJECT["build-system"]["requires"])
    yield from map(Requirement, hatchling.build.get_requires_for_build_editable())


def requirements_of(pin: Pin, python: str) -> Iterator[Requirement]:
    """Yield what a pinned distribution, with its extras, needs under a version of Python."""
    for text in metadata.requires(pin.name) or ():
        requirement = Requirement(text)
        extras = ("", *pin.requirement.extras)
        if requirement.marker is None or any(
            requirement.marker.evaluate({**environment(python), "extra": extra}) for extra in extras
        ):
            yield requirement


def _markers() -> dict[str, str]:
    return {name: str(value) for name, value in default_environment().items()}


def _pins_here() -> dict[str, Pin]:
    return pins_for(_markers()["python_full_version"])


# The lock is closed


def test_every_pin_has_hashes_and_the_lock_names_no_host() -> None:
    assert "://" not in LOCK.read_text()
    for pin in read_lock():
        assert pin.version
        assert pin.hashes, pin.name
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in pin.hashes)


def test_what_is_installed_here_is_what_the_lock_pins() -> None:
    here = _pins_here()
    assert {name: metadata.version(name) for name in here} == {name: pin.version for name, pin in here.items()}


@pytest.mark.parametrize("python", PYTHONS)
def test_every_requirement_is_met_by_a_pin_with_the_extras_asked_for(python: str) -> None:
    pins = pins_for(python)
    asked = list(requirements_of_the_project())
    asked += [requirement for pin in pins.values() for requirement in requirements_of(pin, python)]
    assert len(asked) > len(pins)
    for requirement in asked:
        pin = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pin.version, prereleases=True), f"{requirement}: {pin.version} is pinned"
        assert requirement.extras <= pin.requirement.extras, f"{requirement}: an extra is missing in the lock"


# The recipe runs


def _write_wheel(folder: Path, name: str, version: str, files: dict[str, bytes]) -> str:
    """Write a wheel with the requirements of the installed distribution; return its SHA-256 as the lock spells it."""
    stem = f"{name.replace('-', '_')}-{version}"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    for header in ("Provides-Extra", "Requires-Dist"):
        lines += [f"{header}: {value}" for value in metadata.metadata(name).get_all(header) or ()]
    content = {
        **files,
        f"{stem}.dist-info/METADATA": "\n".join([*lines, ""]).encode(),
        f"{stem}.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},sha256={_digest(data)},{len(data)}\n" for path, data in content.items())
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for member, data in content.items():
            wheel.writestr(member, data)
        wheel.writestr(f"{stem}.dist-info/RECORD", f"{record}{stem}.dist-info/RECORD,,\n")
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def _modules(name: str) -> dict[str, bytes]:
    """Return the modules of an installed distribution by their path in a wheel, and what registers them."""
    files = [one for one in metadata.files(name) or () if one.parts[0] != ".." and one.suffix != ".pyc"]
    wanted = [one for one in files if ".dist-info" not in one.parts[0] or one.name == "entry_points.txt"]
    return {str(one): one.read_binary() for one in wanted}


def _needed_to_build() -> set[str]:
    """Return the names of what an editable build of the project imports."""
    python = _markers()["python_full_version"]
    pins = pins_for(python)
    found: set[str] = set()
    asked = [*PYPROJECT["build-system"]["requires"], *hatchling.build.get_requires_for_build_editable()]
    names = [canonicalize_name(Requirement(one).name) for one in asked]
    while names:
        if (name := names.pop()) not in found:
            found.add(name)
            names += [canonicalize_name(one.name) for one in requirements_of(pins[name], python)]
    return found


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project with a lock of the same pins, and an index that has these and a newer version of each.

    What is pinned has its true requirements but no modules, unless the build needs them; so the hashes are others.
    """
    for name in ("Makefile", "pyproject.toml", "README.md", "LICENSE", "pdu", "router"):
        (tmp_path / name).symlink_to(TOP / name)
    (tmp_path / "index").mkdir()
    build = _needed_to_build()
    lines = []
    for pin in _pins_here().values():
        modules = _modules(pin.name) if pin.name in build else {}
        digest = _write_wheel(tmp_path / "index", pin.name, pin.version, modules)
        _write_wheel(tmp_path / "index", pin.name, NEWER, {})
        lines.append(f"{pin.requirement} --hash={digest}\n")
    (tmp_path / "requirements.lock").write_text("".join(lines))
    return tmp_path


def _python_with_pip(folder: Path, version: str) -> str:
    """Return a command that stands for `python3`, and whose virtual environments have a certain pip."""
    wheels = folder / "pip"
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(wheels), version]
    if subprocess.run(download, check=False, capture_output=True).returncode:
        pytest.skip("the package index cannot be reached")
    script = folder / "python"
    (wheel,) = wheels.iterdir()
    script.write_text(
        f'#!/bin/sh -e\n"{sys.executable}" "$@"\n.venv/bin/python -m pip install -q --no-index "{wheel}"\n'
    )
    script.chmod(0o700)
    return str(script)


@pytest.mark.parametrize("pip", ["", FIRST_PIP, "pip"], ids=["bundled pip", "first pip", "newest pip"])
def test_make_setup_installs_the_pins_although_the_index_has_newer_versions(project: Path, pip: str) -> None:
    python = _python_with_pip(project, pip) if pip else sys.executable
    offline = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(project / "index")}
    environ = os.environ | offline | {"MAKEFLAGS": ""}
    make = ["make", "-C", str(project), "setup", f"PYTHON={python}"]
    done = subprocess.run(make, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No broken requirements found." in done.stdout
    freeze = [str(project / ".venv/bin/python"), "-m", "pip", "freeze", "--exclude-editable"]
    installed = subprocess.run(freeze, env=environ, capture_output=True, text=True, check=True).stdout
    assert set(installed.splitlines()) == {f"{pin.requirement.name}=={pin.version}" for pin in _pins_here().values()}
