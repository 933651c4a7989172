"""`run`: the router in the foreground.

Everything from here on is said in the log, on standard error, also what keeps the router from starting: whoever
collects the log finds it there.
"""

import gc
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import click
import structlog
import trio

from router import logs, supervisor
from router.cli.configuration import config_option
from router.cli.failing import EXIT_CONFIGURATION, EXIT_FAILED
from router.config import Config, ConfigError
from router.services import load_config
from router.spool import RecoveryReport, Spool, SpoolError

_PROGRESS_EVERY: Final = 2.0
"""Seconds between two lines about a recovery that takes its time."""

log = structlog.get_logger()


@click.command()
@config_option
@click.option("--log-format", type=click.Choice(["json", "pretty"]), help="JSON lines unless it is a terminal.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="debug shows every presentation context in words.",
)
@click.option("--phi", is_flag=True, help="Log the Error Comments of peers too: archives put patient names there.")
@click.pass_context
def run(ctx: click.Context, config_path: Path, log_format: logs.Format | None, log_level: str, phi: bool) -> None:
    """Run the router until SIGTERM or SIGINT. SIGHUP reads the configuration anew."""
    logs.configure(log_format, level=log_level, phi=phi)
    try:
        config = load_config(config_path)
    except ConfigError as error:
        for fault in error.faults:
            log.error("configuration fault", file=str(config_path), path=fault.path, fault=fault.message)
        ctx.exit(EXIT_CONFIGURATION)
    _allow_many_files()
    logs.adopt_standard_error()
    signal.signal(signal.SIGHUP, _not_reloaded)
    if not _serve(config):
        ctx.exit(EXIT_FAILED)


def _not_reloaded(*_: object) -> None:
    """SIGHUP before the supervisor obeys it, and after: by itself it would end the process."""
    log.warning("not reloaded: the router is starting or stopping")


def _allow_many_files() -> None:
    """As many open files as the operator's hard limit lets us have: the soft one is often 1024, and 500 associations
    may have a socket and a file each."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _serve(config: Config) -> bool:
    """Whether the router ran, and ended because it was told to."""
    try:
        spool = Spool.open(config.router.spool, config.spool, progress=_Progress())
    except (SpoolError, OSError) as error:
        log.critical("not started", why=_words(error))
        return False
    try:
        _report(spool.recovery)
        return _run(config, spool)
    finally:
        spool.close()


def _run(config: Config, spool: Spool) -> bool:
    """What the world is at fault for ends in a line of the log; everything else is a bug and keeps its traceback."""
    failures: dict[str, None] = {}
    gc.freeze()  # the collector need not walk through the dictionaries of DICOM again and again
    try:
        trio.run(supervisor.serve, config, spool)
    except* (SpoolError, OSError) as group:
        failures |= dict.fromkeys(map(_words, _leaves(group)))
    for words in failures:
        log.critical("ended", why=words)
    return not failures


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _words(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is None and error.strerror:
        return error.strerror
    return str(error)


class _Progress:
    """Tells the log how far a recovery is, every now and then."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _PROGRESS_EVERY

    def __call__(self, step: str, done: int, total: int) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _PROGRESS_EVERY
            log.info("recovering", step=step, done=done, of=total)


def _report(recovery: RecoveryReport) -> None:
    """What the start found, and a line of its own for everything that a person should look at."""
    log.info(
        "spool recovered",
        ledger=recovery.ledger,
        scanned_bytes=recovery.scanned,
        recovered=recovery.recovered,
        waiting=recovery.waiting,
        held=recovery.held,
        unfinished_files_removed=recovery.removed,
    )
    for damage in recovery.damaged:
        log.error(
            "damaged, set aside",
            where=damage.where,
            offset=damage.offset,
            length=damage.length,
            why=damage.reason,
            copy=None if damage.set_aside is None else str(damage.set_aside),
            message_id=damage.message_id,
        )
    for damage in recovery.lost:
        log.error("missing", where=damage.where, offset=damage.offset, why=damage.reason, message_id=damage.message_id)
