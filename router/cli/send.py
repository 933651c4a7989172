"""`send`: files, folders and DICOMDIRs to a peer, with a progress bar and an honest account."""

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
from router.cli.addressing import ae_options, target
from router.cli.configuration import config_option, read_if_there
from router.cli.failing import EXIT_FAILED, CommandError
from router.cli.output import console, count, say, say_json, size
from router.config import Config
from router.dicom.part10 import NotDICOM
from router.tools.send import Instance, SendOutcome, Sent, examine, find
from router.tools.send import send as carry

_MOST_SHOWN: Final = 50
"""Failures that are listed for people; --json has all."""


@define
class _Account:
    """What became of everything that was named."""

    stored: int = 0
    warned: int = 0
    bytes: int = 0
    """Of the data sets that the peer has stored."""
    skipped: int = 0
    """Files in folders that are no DICOM files."""
    statuses: Counter[str] = field(factory=Counter)
    failures: list[dict[str, str]] = field(factory=list)
    associations: int = 0
    seconds: float = 0.0

    def settle(self, sent: Sent) -> None:
        instance = sent.instance
        if sent.verdict is SendOutcome.FAILED:
            self.fail(instance.path, sent.words, instance.sop_instance_uid)
            return
        self.statuses[sent.words] += 1
        self.bytes += instance.length
        if sent.verdict is SendOutcome.WARNING:
            self.warned += 1
        else:
            self.stored += 1

    def fail(self, path: Path, words: str, sop_instance_uid: str = "") -> None:
        self.statuses[words] += 1
        self.failures.append({"path": str(path), "sop_instance_uid": sop_instance_uid, "reason": words})


@click.command()
@click.argument("who", metavar="NAME|HOST:PORT")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@ae_options
@click.option("--json", "as_json", is_flag=True, help="For machines; no progress bar.")
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
    """Send files, folders with all that is in them, and what a DICOMDIR names. Nothing is converted: an object goes
    in the transfer syntax it has, or not at all."""
    config = read_if_there(config_path)
    peer = target(who, config, called=called, calling=calling)
    account = _Account()
    with console().status("looking into the files") if sys.stdout.isatty() else nullcontext():
        try:
            instances = _examine_all(paths, account)
        except NotDICOM as error:
            raise CommandError(str(error)) from None
    if instances:
        _carry(instances, peer, config, account, quiet=as_json)
    if as_json:
        say_json(_as_json(account, len(instances)))
    else:
        _show(account, peer, len(instances))
    if account.failures or not instances:
        ctx.exit(EXIT_FAILED)


def _examine_all(paths: Sequence[Path], account: _Account) -> list[Instance]:
    """What can be sent. The rest is skipped where it was only met on the way, and a failure where it was named."""
    instances = []
    for found in find(paths):
        try:
            instances.append(examine(found.path))
        except NotDICOM as error:
            if found.named:
                account.fail(found.path, str(error))
            else:
                account.skipped += 1
        except OSError as error:
            account.fail(found.path, error.strerror or str(error))
    return instances


def _carry(instances: Sequence[Instance], peer: RemoteAE, config: Config, account: _Account, *, quiet: bool) -> None:
    started = time.monotonic()
    with _progress(instances, quiet=quiet) as advance:

        def tell(sent: Sent) -> None:
            account.settle(sent)
            advance(sent.instance)

        account.associations = trio.run(carry, instances, peer, config.timeouts, tell)
    account.seconds = time.monotonic() - started


@contextmanager
def _progress(instances: Sequence[Instance], *, quiet: bool) -> Iterator[Callable[[Instance], None]]:
    """A bar on a terminal; nothing anywhere else."""
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


def _as_json(account: _Account, examined: int) -> dict[str, Any]:
    return {
        "files": examined,
        "stored": account.stored,
        "stored_with_warning": account.warned,
        "failed": len(account.failures),
        "skipped": account.skipped,
        "bytes": account.bytes,
        "seconds": round(account.seconds, 3),
        "associations": account.associations,
        "statuses": dict(account.statuses),
        "failures": account.failures,
    }


def _show(account: _Account, peer: RemoteAE, examined: int) -> None:
    sent = account.stored + account.warned
    say(
        f"{sent} of {count(examined, 'object')} stored by {peer.called_ae} at {peer.host}:{peer.port}: "
        f"{size(account.bytes)} in {account.seconds:.1f} s over {count(account.associations, 'association')}"
    )
    for words, number in account.statuses.most_common():
        say(f"  {number} x {words}")
    if account.skipped:
        say(f"  {count(account.skipped, 'file')} in folders skipped: no DICOM objects")
    if account.failures:
        say(f"{count(len(account.failures), 'failure')}:")
    for failure in account.failures[:_MOST_SHOWN]:
        say(f"  {failure['path']}: {failure['reason']}")
    if len(account.failures) > _MOST_SHOWN:
        say(f"  and {len(account.failures) - _MOST_SHOWN} more; --json lists them all")
