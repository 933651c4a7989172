"""`bench find` and `bench retrieve`: measure how fast an SCP answers queries, and sends what it is asked for."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from router import __version__
from router.association import AssociationError, RemoteAE
from router.cli.addressing import ae_options, peer_for
from router.cli.bench_options import json_option, write_figures
from router.cli.configuration import config_option, read_optional_config
from router.cli.errors import EXIT_FAILED, CommandError
from router.cli.find import level_of
from router.cli.output import count, size
from router.config import Config
from router.config.identifiers import ae_title, listening
from router.dicom.information_models import LEVELS, MODELS, QUERY_RETRIEVE_MODELS, WORKLIST
from router.dimse import DATA_SET, Command, CommandField, Priority, Status, describe
from router.services.query.identifier import encode_identifier
from router.tools.bench import Sink, summary
from router.tools.bench.conversation import Asker, Measured
from router.tools.query.keys import InvalidKey, build_identifier, parse_keys, with_return_keys

_LATE: Final = 0.2
"""Seconds to wait for reports of the sink after the final response."""


@click.command(short_help="Measure how fast an SCP answers a query.")
@click.argument("who", metavar="NAME|HOST:PORT")
@click.argument("keys", metavar="KEY[=VALUE]...", nargs=-1)
@click.option("--model", type=click.Choice(list(MODELS)), default="study", show_default=True)
@click.option("--level", type=click.Choice(LEVELS, case_sensitive=False), help="[default: the model's highest]")
@click.option("--queries", type=click.IntRange(1), default=1, show_default=True, help="Queries, one after the other.")
@ae_options
@json_option
@config_option
@click.pass_context
def find(
    ctx: click.Context, /, who: str, keys: tuple[str, ...], model: str, level: str | None, queries: int,
    called: str | None, calling: str | None, json_path: Path | None, config_path: Path,
) -> None:  # fmt: skip
    """Ask an SCP the same query again and again; show the time to the first answer, and answers/s."""
    config = read_optional_config(config_path)
    chosen = MODELS[model]
    service = "worklist" if chosen is WORKLIST else "query"
    target = _target(who, config, service, called=called, calling=calling)
    identifier = _identifier(keys, model, level)
    command = Command(
        field=CommandField.C_FIND_RQ,
        affected_sop_class_uid=chosen.find,
        priority=Priority.MEDIUM,
        data_set_type=DATA_SET,
    )
    measured: list[Measured] = []
    try:
        asker = Asker.open(target, chosen.find, config.timeouts)
        data = encode_identifier(identifier, asker.transfer_syntax)
        for _ in range(queries):
            measured.append(asker.measure(command, data, lambda now: None))
        asker.close()
    except AssociationError as error:
        raise CommandError(f"{target.host}:{target.port}: {error}") from None
    figures = {
        **_heading("find", target),
        "queries": queries,
        "answers": sum(one.pending for one in measured),
        "bytes": sum(one.bytes for one in measured),
        "first_answer_ms": summary([one.first - one.sent for one in measured if one.first is not None]),
        "query_ms": summary([one.last - one.sent for one in measured]),
        **_rate("answers_per_s", sum(one.pending for one in measured), sum(one.last - one.sent for one in measured)),
        "statuses": _statuses(measured, "query"),
    }
    write_figures(figures, _find_lines(figures), json_path)
    if not _all_succeeded(measured):
        ctx.exit(EXIT_FAILED)


@click.command(short_help="Measure how fast an SCP sends what it is asked for.")
@click.argument("who", metavar="NAME|HOST:PORT")
@click.argument("keys", metavar="KEY=VALUE...", nargs=-1, required=True)
@click.option("--model", type=click.Choice([one.name for one in QUERY_RETRIEVE_MODELS]), default="study")
@click.option("--level", type=click.Choice(LEVELS, case_sensitive=False), help="[default: the model's highest]")
@click.option(
    "--sink", "address", metavar="HOST:PORT", required=True, help="Where the SCP sends to; a sink is started here."
)
@click.option("--to", "destination", metavar="AE", required=True, help="The sink's AE title, as the SCP knows it.")
@ae_options
@json_option
@config_option
@click.pass_context
def retrieve(
    ctx: click.Context, /, who: str, keys: tuple[str, ...], model: str, level: str | None, address: str,
    destination: str, called: str | None, calling: str | None, json_path: Path | None, config_path: Path,
) -> None:  # fmt: skip
    """Have an SCP send objects to a sink by C-MOVE; show the time to the first object, objects/s and MB/s."""
    config = read_optional_config(config_path)
    chosen = MODELS[model]
    target = _target(who, config, "retrieve", called=called, calling=calling)
    identifier = _identifier(keys, model, level, with_returns=False)
    try:
        endpoint, title = listening(address), ae_title(destination)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    command = Command(
        field=CommandField.C_MOVE_RQ,
        affected_sop_class_uid=chosen.move,
        priority=Priority.MEDIUM,
        move_destination=title,
        data_set_type=DATA_SET,
    )
    sink = Sink(host=endpoint.host, port=endpoint.port)
    try:
        with sink.serving():
            asker = Asker.open(target, chosen.move, config.timeouts)
            data = encode_identifier(identifier, asker.transfer_syntax)
            measured = asker.measure(command, data, lambda now: sink.receive(0))
            asker.close()
            sink.receive(_LATE)
    except (AssociationError, OSError) as error:
        raise CommandError(f"{target.host}:{target.port}: {error}") from None
    figures = _retrieve_figures(target, measured, sink)
    write_figures(figures, _retrieve_lines(figures), json_path)
    if not _all_succeeded([measured]):
        ctx.exit(EXIT_FAILED)


def _target(who: str, config: Config, service: str, *, called: str | None, calling: str | None) -> RemoteAE:
    return RemoteAE.of(peer_for(who, config, service, called=called, calling=calling), config)


def _identifier(words: Sequence[str], model: str, level: str | None, *, with_returns: bool = True) -> Any:
    chosen, asked_level = MODELS[model], level_of(MODELS[model], level)
    try:
        keys = parse_keys(words)
        return build_identifier(with_return_keys(keys, chosen, asked_level) if with_returns else keys, asked_level)
    except InvalidKey as error:
        raise click.UsageError(str(error)) from None


def _heading(kind: str, target: RemoteAE) -> dict[str, Any]:
    return {
        "measured": kind,
        "with": f"dicom-router {__version__}",
        "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "peer": f"{target.host}:{target.port}",
    }


def _rate(name: str, number: float, seconds: float) -> dict[str, float]:
    return {"seconds": round(seconds, 6), name: round(number / seconds, 2) if seconds > 0 else 0.0}


def _statuses(measured: Sequence[Measured], service: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in measured:
        final = one.final
        assert final is not None, "`measure` returns at the final response"
        words = describe(final.status or Status.SUCCESS, service)
        found[words] = found.get(words, 0) + 1
    return found


def _all_succeeded(measured: Sequence[Measured]) -> bool:
    return all(one.final is not None and one.final.status == Status.SUCCESS for one in measured)


def _retrieve_figures(target: RemoteAE, measured: Measured, sink: Sink) -> dict[str, Any]:
    times = sorted(arrival.at for arrival in sink.arrivals())
    final = measured.final
    assert final is not None, "`measure` returns at the final response"
    seconds = measured.last - measured.sent
    return {
        **_heading("retrieve", target),
        "objects": len(times),
        "bytes": sink.bytes,
        "first_object_ms": round((times[0] - measured.sent) * 1000, 3) if times else None,
        "first_response_ms": round(((measured.first or measured.last) - measured.sent) * 1000, 3),
        **_rate("objects_per_s", len(times), seconds),
        "megabytes_per_s": round(sink.bytes / 1e6 / seconds, 3) if seconds > 0 else 0.0,
        "pending_responses": measured.pending,
        "counts": {
            "completed": final.number_of_completed_suboperations,
            "failed": final.number_of_failed_suboperations,
            "warning": final.number_of_warning_suboperations,
        },
        "statuses": _statuses([measured], "retrieve"),
    }


def _find_lines(figures: dict[str, Any]) -> list[str]:
    first, whole = figures["first_answer_ms"], figures["query_ms"]
    queries = count(figures["queries"], "query", "queries")
    lines = [
        f"{count(figures['answers'], 'answer')} ({size(figures['bytes'])}) to {queries} in {figures['seconds']:.2f} s: "
        f"{figures['answers_per_s']:,.0f} answers/s",
        f"  query: p50 {whole['p50']:.1f} ms, max {whole['max']:.1f} ms",
    ]
    if first["count"]:
        lines.append(f"  first answer: p50 {first['p50']:.1f} ms, max {first['max']:.1f} ms")
    return [*lines, *(f"  {number} x {status}" for status, number in figures["statuses"].items())]


def _retrieve_lines(figures: dict[str, Any]) -> list[str]:
    first = figures["first_object_ms"]
    lines = [
        f"{count(figures['objects'], 'object')} ({size(figures['bytes'])}) in {figures['seconds']:.2f} s: "
        f"{figures['objects_per_s']:,.0f} objects/s, {figures['megabytes_per_s']:,.1f} MB/s",
        f"  first response after {figures['first_response_ms']:.1f} ms",
    ]
    if first is not None:
        lines.append(f"  first object after {first:.1f} ms")
    lines.append(
        "  " + ", ".join(f"{number} {name}" for name, number in figures["counts"].items() if number is not None)
    )
    return [*lines, *(f"  {number} x {status}" for status, number in figures["statuses"].items())]
