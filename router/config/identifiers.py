"""Readers of texts with a fixed form: AE titles, UIDs, names, addresses and paths.

Each returns the value of what TOML gave, or raises `ValueError` with a message for the author of the
file. Not here: numbers (`quantities`) and patterns (`patterns`).
"""

import re
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

from attrs import frozen

from router.config.quantities import shown

_UID = re.compile(r"(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*))+", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_HOST_NAME = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}", re.ASCII)
_ENDPOINT = re.compile(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\s:\[\]/]+)):(\d{1,5})", re.ASCII)


@frozen(kw_only=True)
class Endpoint:
    """An address to listen on or to connect to: a host name or IP address, and a TCP port."""

    host: str
    port: int
    """0 for any free port; only to listen on."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether it is an address of a loopback network, or the name localhost."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"


def text(value: object) -> str:
    """Read any text."""
    if not isinstance(value, str):
        raise ValueError(f"must be text in quotation marks, not {shown(value)}")
    return value


def line(value: object) -> str:
    """Read one line of text: not blank, printable, at most 200 characters."""
    if not text(value).strip() or not text(value).isprintable() or len(text(value)) > 200:
        raise ValueError(f"must be one line of 1 to 200 characters, not {shown(value)}")
    return text(value)


def one_of(*choices: str) -> Callable[[object], str]:
    """Return a reader of one word out of `choices`."""

    def read(value: object) -> str:
        if value not in choices:
            raise ValueError(f"must be {' or '.join(map(shown, choices))}, not {shown(value)}")
        return text(value)

    return read


def flag(value: object) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, without quotation marks, not {shown(value)}")
    return value


def ae_title(value: object) -> str:
    """Read an AE title: 1 to 16 characters of printable ASCII without backslash, without outer spaces (PS3.5 6.2)."""
    title = text(value).strip(" ")
    if not 1 <= len(title) <= 16:
        raise ValueError(f"{shown(value)} is not an AE title: it must have 1 to 16 characters besides outer spaces")
    if not title.isascii() or not title.isprintable() or "\\" in title:
        raise ValueError(f"{shown(value)} is not an AE title: it must be printable ASCII without a backslash")
    return title


def optional_ae_title(value: object) -> str:
    """Read an AE title, or "" for none."""
    return ae_title(value) if value != "" else ""


def version_name(value: object) -> str:
    """Read an implementation version name: 1 to 16 characters of printable ASCII (PS3.7 D.3.3.2.4)."""
    name = text(value)
    if not 1 <= len(name) <= 16 or not name.isascii() or not name.isprintable():
        raise ValueError(f"must be 1 to 16 characters of printable ASCII, not {shown(value)}")
    return name


def uid(value: object) -> str:
    """Read a UID: numbers without leading zeros joined by dots, at most 64 characters (PS3.5 9.1)."""
    if len(text(value)) > 64 or _UID.fullmatch(text(value)) is None:
        raise ValueError(
            f"{shown(value)} is not a UID: it must be numbers without leading zeros joined by dots, "
            "at most 64 characters"
        )
    return text(value)


def peer_name(value: object) -> str:
    """Read a peer's name, which stands in commands and logs: letters, digits, dots, hyphens and underscores."""
    if _NAME.fullmatch(text(value)) is None:
        raise ValueError(
            f"{shown(value)} cannot name a peer: use 1 to 64 letters, digits, '.', '-' and '_', "
            "and begin with a letter or digit"
        )
    return text(value)


def listening(value: object) -> Endpoint:
    """Read an address to listen on."""
    found = _ENDPOINT.fullmatch(text(value).strip())
    if found is None:
        raise ValueError(f'must be written "host:port", or "[host]:port" for an IPv6 address, not {shown(value)}')
    if int(found[3]) > 65535:
        raise ValueError(f"{shown(value)} has a port over 65535")
    if found[1] is None:
        _check_host_name(found[2])
    return Endpoint(host=found[1] or found[2], port=int(found[3]))


def _check_host_name(name: str) -> None:
    """Check that a name server can know the name.

    Raises:
        ValueError: a part is too long or empty, or the whole is too long (RFC 1123 2.1, RFC 5890).
    """
    try:
        encoded = name.encode("idna")
    except UnicodeError as error:
        raise ValueError(
            f"{shown(name)} cannot be a host name: its parts between dots must have 1 to 63 characters each ({error})"
        ) from error
    if len(encoded) > 253:
        raise ValueError(f"{shown(name)} cannot be a host name: it has more than 253 characters")


def connecting(value: object) -> Endpoint:
    """Read an address to connect to."""
    endpoint = listening(value)
    if endpoint.port == 0:
        raise ValueError(f"{shown(value)} has port 0, to which nobody can connect")
    return endpoint


def optional_connecting(value: object) -> Endpoint | None:
    """Read an address to connect to, or "" for none."""
    return connecting(value) if value != "" else None


def host_name(value: object) -> str:
    """Read a host name or IP address without a port. Return it in lower case."""
    if _HOST_NAME.fullmatch(text(value)) is None:
        raise ValueError(f"{shown(value)} is not the name or address of a host; a port does not belong here")
    return text(value).lower()


def optional_file(value: object) -> Path | None:
    """Read a path, or "" for none."""
    return folder(value) if value != "" else None


def folder(value: object) -> Path:
    """Read a path. `load` resolves a relative one from the folder of the configuration file."""
    if not text(value) or "\0" in text(value):
        raise ValueError(f"must be a path, not {shown(value)}")
    return Path(text(value))
