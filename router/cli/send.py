"""`send`: send files, folders and what DICOMDIRs name to a peer, with a progress bar and a result for each file."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final

import click
import trio
from attrs import define, field
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from router.association import RemoteAE
from router.cli.addressing import ae_options, remote_ae
from router.cli.configuration import config_option, read_optional_config
from router.cli.errors import EXIT_FAILED, CommandError
from router.cli.output import console, count, print_json, print_line, size
from router.config import Config
from router.dicom.part10 import NotDICOM
from router.tools.send import Instance, SendOutcome, Sent, examine, find
from router.tools.send import send as send_instances

_MOST_SHOWN: Final = 50
"""Failures that are listed without --json."""


@define
class _Tally:
    """Counts of the results of all files."""

    stored: int = 0
    warned: int = 0
    bytes: int = 0
    """Bytes of the data sets that the peer has stored."""
    skipped: int = 0
    """Files in folders that are not DICOM files."""
    statuses: Counter[str] = field(factory=Counter)
    failures: list[dict[str, str]] = field(factory=list)
    associations: int = 0
    seconds: float = 0.0

    def add(self, sent: Sent) -> None:
        instance = sent.instance
        if sent.outcome is SendOutcome.FAILED:
            self.fail(instance.path, sent.reason, instance.sop_instance_uid)
            return
        self.statuses[sent.reason] += 1
        self.bytes += instance.length
        if sent.outcome is SendOutcome.WARNING:
            self.warned += 1
        else:
            self.stored += 1

    def fail(self, path: Path, reason: str, sop_instance_uid: str = "") -> None:
        self.statuses[reason] += 1
        self.failures.append({"path": str(path), "sop_instance_uid": sop_instance_uid, "reason": reason})


@click.command()
@click.argument("who", metavar="NAME|HOST:PORT")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@ae_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON, without a progress bar.")
@config_option
@click.pass_context
def send(
    ctx: click.Context,
    who: str,
    paths: tuple[Path, ...],
    called: str | None,
    calling: str | None,
    as_json: bool,
    config_path: Path,
) -> None:
    """Send files, folders with all files below them, and the files that a DICOMDIR names.

    Nothing is converted: an object is sent in its own transfer syntax, or fails.
    """
    config = read_optional_config(config_path)
    peer = remote_ae(who, config, called=called, calling=calling)
    tally = _Tally()
    with console().status("reading the files") if sys.stdout.isatty() else nullcontext():
        try:
            instances = _examine_all(paths, tally)
        except NotDICOM as error:
            raise CommandError(str(error)) from None
    if instances:
        _send_all(instances, peer, config, tally, quiet=as_json)
    if as_json:
        print_json(_as_json(tally, len(instances)))
    else:
        _show(tally, peer, len(instances))
    if tally.failures or not instances:
        ctx.exit(EXIT_FAILED)


def _examine_all(paths: Sequence[Path], tally: _Tally) -> list[Instance]:
    """Return what can be sent. Other files are failures if they were named, and skipped if they were in a folder."""
    instances = []
    for found in find(paths):
        try:
            instances.append(examine(found.path))
        except NotDICOM as error:
            if found.named:
                tally.fail(found.path, str(error))
            else:
                tally.skipped += 1
        except OSError as error:
            tally.fail(found.path, error.strerror or str(error))
    return instances


def _send_all(instances: Sequence[Instance], peer: RemoteAE, config: Config, tally: _Tally, *, quiet: bool) -> None:
    started = time.monotonic()
    with _progress(instances, quiet=quiet) as advance:

        def tell(sent: Sent) -> None:
            tally.add(sent)
            advance(sent.instance)

        tally.associations = trio.run(send_instances, instances, peer, config.timeouts, tell)
    tally.seconds = time.monotonic() - started


@contextmanager
def _progress(instances: Sequence[Instance], *, quiet: bool) -> Iterator[Callable[[Instance], None]]:
    """Show a progress bar on a terminal; yield what advances it."""
    if quiet or not sys.stdout.isatty():
        yield lambda instance: None
        return
    columns = (
        TextColumn("sending"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[files]} of {task.fields[of]}"),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    total = sum(instance.length for instance in instances)
    with Progress(*columns, console=console(), transient=True) as progress:
        task = progress.add_task("", total=total, files=0, of=len(instances))
        done = 0

        def advance(instance: Instance) -> None:
            nonlocal done
            done += 1
            progress.update(task, advance=instance.length, files=done)

        yield advance


def _as_json(tally: _Tally, examined: int) -> dict[str, Any]:
    return {
        "files": examined,
        "stored": tally.stored,
        "stored_with_warning": tally.warned,
        "failed": len(tally.failures),
        "skipped": tally.skipped,
        "bytes": tally.bytes,
        "seconds": round(tally.seconds, 3),
        "associations": tally.associations,
        "statuses": dict(tally.statuses),
        "failures": tally.failures,
    }


def _show(tally: _Tally, peer: RemoteAE, examined: int) -> None:
    sent = tally.stored + tally.warned
    print_line(
        f"{sent} of {count(examined, 'object')} stored by {peer.called_ae} at {peer.host}:{peer.port}: "
        f"{size(tally.bytes)} in {tally.seconds:.1f} s over {count(tally.associations, 'association')}"
    )
    for status, number in tally.statuses.most_common():
        print_line(f"  {number} x {status}")
    if tally.skipped:
        print_line(f"  {count(tally.skipped, 'file')} in folders skipped: not DICOM")
    if tally.failures:
        print_line(f"{count(len(tally.failures), 'failure')}:")
    for failure in tally.failures[:_MOST_SHOWN]:
        print_line(f"  {failure['path']}: {failure['reason']}")
    if len(tally.failures) > _MOST_SHOWN:
        print_line(f"  and {len(tally.failures) - _MOST_SHOWN} more; --json lists them all")
