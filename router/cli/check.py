"""`check`: list all faults of the configuration at once, and remarks on what is allowed but probably a mistake.

With faults the router does not start, and the exit code is 2. Remarks do not change the exit code.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import click

from router.cli.configuration import config_option, describe_faults
from router.cli.errors import EXIT_CONFIGURATION
from router.cli.output import count, json_option, print_json, print_line
from router.config import Config, ConfigError, Fault, Globs
from router.services import load_config
from router.services.retrieve.options import SERVICE as RETRIEVE

_HERE = frozenset({"127.0.0.1", "::1", "localhost", "0.0.0.0", "::"})


@click.command()
@json_option
@config_option
@click.pass_context
def check(ctx: click.Context, config_path: Path, as_json: bool) -> None:
    """Check the configuration, and list all its faults."""
    remarks: list[Fault] = []
    try:
        config = load_config(config_path)
        faults = tuple(_faults(config))
        remarks = list(_remarks(config))
    except ConfigError as error:
        faults = error.faults
    if as_json:
        print_json({"file": str(config_path), "faults": _as_json(faults), "remarks": _as_json(remarks)})
    else:
        _show(config_path, faults, remarks)
    if faults:
        ctx.exit(EXIT_CONFIGURATION)


def _as_json(faults: tuple[Fault, ...] | list[Fault]) -> list[dict[str, str]]:
    return [{"path": fault.path, "message": fault.message} for fault in faults]


def _show(path: Path, faults: tuple[Fault, ...], remarks: list[Fault]) -> None:
    if faults:
        print_line(describe_faults(path, ConfigError(faults)))
    else:
        print_line(f"{path} is fine")
    if remarks:
        print_line(f"{count(len(remarks), 'remark')}:")
    for remark in remarks:
        print_line(f"  {remark}")


def _faults(config: Config) -> Iterator[Fault]:
    """Find the faults that show only outside of the file."""
    spool = config.router.spool
    parent = next(folder for folder in (spool, *spool.absolute().parents) if folder.exists())
    if not parent.is_dir():
        yield Fault("router.spool", f"{parent} is not a folder")
    elif not os.access(parent, os.W_OK | os.X_OK):
        yield Fault("router.spool", f"{parent} is not writable for this user")


def _remarks(config: Config) -> Iterator[Fault]:
    """Find what is allowed, but probably a mistake."""
    if not config.routes:
        yield Fault("routes", "there are no routes: everything will be " + _unrouted(config))
    used = {name for route in config.routes for name in route.to}
    retrieves = any(route.service == RETRIEVE for route in config.routes)  # then any peer is a move destination
    for name, peer in config.peers.items():
        if peer.address is not None and name not in used and not retrieves:
            yield Fault(f"peers.{name}", "no route leads there")
    yield from _without_destination(config)
    yield from _unreachable(config)
    yield from _loops(config, used)


def _unrouted(config: Config) -> str:
    return "held" if config.router.unrouted == "hold" else "refused"


def _without_destination(config: Config) -> Iterator[Fault]:
    """Find conditions on the destination of a retrieve that no peer meets."""
    for route in config.routes:
        for condition in route.when:
            if condition.key == "destination":
                globs = Globs(tuple(map(str, condition.values)))
                if not any(map(globs.matches, config.peers)):
                    yield Fault(f'routes["{route.name}"].when.destination', "matches the name of no peer")


def _unreachable(config: Config) -> Iterator[Fault]:
    """Find routes after one that is final and matches everything."""
    closed: dict[str, str] = {}
    for route in config.routes:
        if route.service in closed:
            yield Fault(
                f'routes["{route.name}"]',
                f'is never reached: "{closed[route.service]}" is final and matches all',
            )
        elif route.final and not route.when:
            closed[route.service] = route.name


def _loops(config: Config, used: set[str]) -> Iterator[Fault]:
    """Find destinations that are this router itself."""
    for name in sorted(used):
        address = config.peers[name].address
        for listener in config.listeners:
            same_port = address is not None and address.port == listener.address.port
            if address is not None and same_port and address.host in _HERE | {listener.address.host}:
                yield Fault(f"peers.{name}.address", f"{address} is this router itself: objects would go in circles")
