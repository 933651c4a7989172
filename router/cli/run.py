"""`run`: the router in the foreground.

All messages go to the log on standard error, also the reasons why the router does not start, so that whatever collects
the log has them.
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
from router.cli.errors import EXIT_CONFIGURATION, EXIT_FAILED
from router.config import Config, ConfigError
from router.services import load_config
from router.spool import RecoveryReport, Spool, SpoolError

_PROGRESS_EVERY: Final = 2.0
"""Seconds between two log lines about a long recovery."""

log = structlog.get_logger()


@click.command()
@config_option
@click.option(
    "--log-format",
    type=click.Choice(["json", "pretty"]),
    help="Format of the log. [default: pretty on a terminal, else json]",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="Least level to log; debug includes every presentation context.",
)
@click.option("--phi", is_flag=True, help="Also log the Error Comments of peers, which may name patients.")
@click.pass_context
def run(ctx: click.Context, config_path: Path, log_format: logs.Format | None, log_level: str, phi: bool) -> None:
    """Run the router until SIGTERM or SIGINT; SIGHUP reloads the configuration."""
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
    """Handle SIGHUP before and after the supervisor does; unhandled, it would end the process."""
    log.warning("not reloaded: the router is starting or stopping")


def _allow_many_files() -> None:
    """Raise the limit of open files to the hard limit.

    The soft limit is often 1024, and 500 associations may need a socket and a file each.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _serve(config: Config) -> bool:
    """Open the spool and run the router. Return True if it ended on request."""
    try:
        spool = Spool.open(config.router.spool, config.spool, progress=_RecoveryProgress())
    except (SpoolError, OSError) as error:
        log.critical("not started", why=_message_of(error))
        return False
    try:
        _log_recovery(spool.recovery)
        return _run(config, spool)
    finally:
        spool.close()


def _run(config: Config, spool: Spool) -> bool:
    """Run the router. Log errors of the disk and the network; any other exception is a bug and keeps its traceback."""
    failures: dict[str, None] = {}
    gc.freeze()  # so that the garbage collector does not scan the DICOM dictionaries
    try:
        trio.run(supervisor.serve, config, spool)
    except* (SpoolError, OSError) as group:
        failures |= dict.fromkeys(map(_message_of, _leaves(group)))
    for message in failures:
        log.critical("ended", why=message)
    return not failures


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _message_of(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is None and error.strerror:
        return error.strerror
    return str(error)


class _RecoveryProgress:
    """Log the progress of a recovery every `_PROGRESS_EVERY` seconds."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _PROGRESS_EVERY

    def __call__(self, step: str, done: int, total: int) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _PROGRESS_EVERY
            log.info("recovering", step=step, done=done, of=total)


def _log_recovery(recovery: RecoveryReport) -> None:
    """Log the result of the recovery, and each damaged or missing part of the spool."""
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
