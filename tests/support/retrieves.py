"""A router that answers retrieves, with its archives and destinations."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.objects import Instance, read_file
from tests.support.peers import Storescp
from tests.support.router_process import RouterProcess

STUDY = ("QueryRetrieveLevel=STUDY", "StudyInstanceUID=2.25.1")


def router(folder: Path, port: int, peers: dict[str, Any], *routes: dict[str, Any], **tables: Any) -> RouterProcess:
    content = {
        "router": {"listen": [f"127.0.0.1:{port}"], "spool": "spool", "shutdown_grace": "2s"},
        "admin": {"listen": "127.0.0.1:0"},
        "peers": {name: {"retry": {"first": "100ms", "max": "500ms"}, **peer} for name, peer in peers.items()},
        "routes": list(routes),
        **tables,
    }
    return RouterProcess(folder, content)


def route(*to: str, **keys: Any) -> dict[str, Any]:
    return {"name": "retrieves", "service": "retrieve", "to": list(to), **keys}


def peer(title: str, address: str, **keys: Any) -> dict[str, Any]:
    return {"ae_title": title, "address": address, **keys}


def contents(instances: Sequence[Instance]) -> dict[str, bytes]:
    return {one.sop_instance_uid: one.data for one in instances}


def received(archive: Storescp) -> dict[str, bytes]:
    return contents([read_file(path) for path in archive.files()])
