"""`check`: every fault of the configuration at once, and what is allowed but hardly meant.

Faults keep a router from starting: exit code 2. Remarks do not.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import click

from router.cli.configuration import config_option, faults_in_words
from router.cli.failing import EXIT_CONFIGURATION
from router.cli.output import count, json_option, say, say_json
from router.config import Config, ConfigError, Fault
from router.services import load_config

_HERE = frozenset({"127.0.0.1", "::1", "localhost", "0.0.0.0", "::"})


@click.command()
@json_option
@config_option
@click.pass_context
def check(ctx: click.Context, config_path: Path, as_json: bool) -> None:
    """Tell every fault of the configuration."""
    remarks: list[Fault] = []
    try:
        config = load_config(config_path)
        faults = tuple(_faults(config))
        remarks = list(_remarks(config))
    except ConfigError as error:
        faults = error.faults
    if as_json:
        say_json({"file": str(config_path), "faults": _as_json(faults), "remarks": _as_json(remarks)})
    else:
        _show(config_path, faults, remarks)
    if faults:
        ctx.exit(EXIT_CONFIGURATION)


def _as_json(faults: tuple[Fault, ...] | list[Fault]) -> list[dict[str, str]]:
    return [{"path": fault.path, "message": fault.message} for fault in faults]


def _show(path: Path, faults: tuple[Fault, ...], remarks: list[Fault]) -> None:
    if faults:
        say(faults_in_words(path, ConfigError(faults)))
    else:
        say(f"{path} is fine")
    if remarks:
        say(f"{count(len(remarks), 'remark')}:")
    for remark in remarks:
        say(f"  {remark}")


def _faults(config: Config) -> Iterator[Fault]:
    """What only shows outside of the file."""
    spool = config.router.spool
    parent = next(folder for folder in (spool, *spool.absolute().parents) if folder.exists())
    if not parent.is_dir():
        yield Fault("router.spool", f"{parent} is not a folder")
    elif not os.access(parent, os.W_OK | os.X_OK):
        yield Fault("router.spool", f"{parent} is not writable for the user who runs this")


def _remarks(config: Config) -> Iterator[Fault]:
    """What is allowed, and hardly meant."""
    if not config.routes:
        yield Fault("routes", "there are none: everything will be " + _unrouted(config))
    used = {name for route in config.routes for name in route.to}
    for name, peer in config.peers.items():
        if peer.address is not None and name not in used:
            yield Fault(f"peers.{name}", "no route leads there")
    yield from _unreachable(config)
    yield from _loops(config, used)


def _unrouted(config: Config) -> str:
    return "held" if config.router.unrouted == "hold" else "refused"


def _unreachable(config: Config) -> Iterator[Fault]:
    """Routes behind one that takes everything and is final."""
    closed: dict[str, str] = {}
    for route in config.routes:
        if route.service in closed:
            yield Fault(f'routes["{route.name}"]', f'is never looked at: "{closed[route.service]}" takes everything')
        elif route.final and not route.when:
            closed[route.service] = route.name


def _loops(config: Config, used: set[str]) -> Iterator[Fault]:
    """Destinations that are this router."""
    for name in sorted(used):
        address = config.peers[name].address
        for listener in config.listeners:
            same_port = address is not None and address.port == listener.address.port
            if address is not None and same_port and address.host in _HERE | {listener.address.host}:
                yield Fault(f"peers.{name}.address", f"{address} is this router itself: objects would go in circles")
