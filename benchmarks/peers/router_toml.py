"""A router.toml from Python values, for a router that is started as a process."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from benchmarks.peers.ports import HOST


class Archive(Protocol):
    """A destination, as router.toml names it."""

    @property
    def address(self) -> str: ...
    @property
    def ae_title(self) -> str: ...


def configuration(archives: Mapping[str, Archive], **sections: Any) -> dict[str, Any]:
    """Return a router.toml that routes all storage to all archives; the router listens on free ports.

    `sections` are merged into it, key by key for tables: `peers={"pacs": {"associations": 2}}` adds to that peer.
    """
    peer: dict[str, Any] = {"linger": "500ms", "retry": {"first": "200ms", "max": "2s"}}
    base: dict[str, Any] = {
        "router": {"listen": [f"{HOST}:0"], "spool": "spool", "shutdown_grace": "10s"},
        "admin": {"listen": f"{HOST}:0"},
        "peers": {
            name: {"ae_title": archive.ae_title, "address": archive.address, **peer}
            for name, archive in archives.items()
        },
        "routes": [{"name": "everything", "service": "storage", "to": list(archives)}],
    }
    return _merged(base, sections)


def _merged(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in more.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def write_toml(path: Path, content: Mapping[str, Any]) -> Path:
    """Write strings, numbers, booleans, and lists and tables of them, as TOML; return the path."""
    path.write_text("".join(f"{json.dumps(key)} = {_toml(value)}\n" for key, value in content.items()), "utf-8")
    return path


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)
