"""What the commands of `bench` are told: the load, the sink's behaviour, and where the figures go."""

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
from attrs import evolve

from router.association import RemoteAE
from router.cli.failing import CommandError
from router.cli.output import say, say_json
from router.config import quantities
from router.dicom.part10 import NotDICOM
from router.tools.bench import (
    Behaviour,
    BenchError,
    Generator,
    Load,
    Mixture,
    Template,
    made,
    read_mixture,
    template_of_file,
)
from router.tools.send import examine, find

MIX: Final = "mix:"
_DURATION: Final = 10.0
"""Seconds of a load that nobody has given an end."""
_MOST_CONTEXTS: Final = 128

Command = Callable[..., Any]


def _quantity(read: Callable[[object], Any], ctx: click.Context, parameter: click.Parameter, value: str | None) -> Any:
    try:
        return None if value is None else read(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, parameter) from None


def _hexadecimal(value: object) -> int:
    status = int(str(value).rstrip("Hh"), 16)
    if not 0 <= status <= 0xFFFF:
        raise ValueError("a status has four hexadecimal digits")
    return status


seconds_of = partial(_quantity, quantities.duration)
_size_of = partial(_quantity, lambda value: value if str(value).startswith(MIX) else quantities.size(value))
_status_of = partial(_quantity, _hexadecimal)

_LOAD: Final = (
    click.option(
        "--size", metavar="SIZE", default="525KB", show_default=True, callback=_size_of,
        help='Bytes of an object, such as 12KB; or mix:FILE, whose lines are "WEIGHT SIZE".',
    ),
    click.option(
        "--files", multiple=True, metavar="PATH", type=click.Path(exists=True, path_type=Path),
        help="Send these files and folders instead, under UIDs of the run's own; may be repeated.",
    ),
    click.option("--objects", type=click.IntRange(1), help="How many to send, all associations together."),
    click.option(
        "--duration", metavar="TIME", callback=seconds_of,
        help=f"How long to send, such as 30s. [default: {_DURATION:g}s without --objects]",
    ),
    click.option("--associations", type=click.IntRange(1, 10_000), default=1, show_default=True),
    click.option(
        "--rate", type=click.FloatRange(0, min_open=True),
        help="Objects/s, whether or not the peer keeps up; latency then counts from the moment an object was due.",
    ),
    click.option(
        "--window", type=click.IntRange(1, 65535), default=1, show_default=True,
        help="Outstanding requests to propose (asynchronous operations window).",
    ),
    click.option("--nagle", is_flag=True, help="Leave Nagle's algorithm on, and write PDU by PDU, as modalities do."),
)  # fmt: skip
_SINK: Final = (
    click.option("--delay", metavar="TIME", default="0s", callback=seconds_of, help="Wait before each answer."),
    click.option("--status", metavar="HEX", default="0000", callback=_status_of, help="Answer this, such as A700."),
    click.option(
        "--abort-every", type=click.IntRange(1), help="Abort the association on every so many objects, unanswered."
    ),
    click.option(
        "--store", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER",
        help="Write what comes to files (PS3.10), without a sync.",
    ),
    click.option("--discard", is_flag=True, help="Keep nothing of what comes: the default."),
    click.option("--sink-window", type=click.IntRange(1), help="Grant no more outstanding requests than these."),
)  # fmt: skip
json_option: Final = click.option(
    "--json", "json_path", metavar="FILE", type=click.Path(path_type=Path, allow_dash=True, dir_okay=False),
    help="Write the figures here as JSON; - is standard output, which then has nothing else.",
)  # fmt: skip


def load_options(command: Command) -> Command:
    """Give a command the options of the load; `load` makes it of them."""
    return _with(command, _LOAD)


def sink_options(command: Command) -> Command:
    """Give a command the options of the sink; `behaviour` makes its behaviour of them."""
    return _with(command, _SINK)


def _with(command: Command, options: Iterable[Callable[[Command], Command]]) -> Command:
    for option in reversed(list(options)):
        command = option(command)
    return command


def generator(target: RemoteAE, options: dict[str, Any], timeouts: Any) -> Generator:
    """The generator that the options ask for; takes them out of `options`."""
    objects, seconds = options.pop("objects"), options.pop("duration")
    if objects is None and seconds is None:
        seconds = _DURATION
    load = Load(
        mixture=_mixture(options.pop("size"), options.pop("files")),
        objects=objects,
        seconds=seconds,
        rate=options.pop("rate"),
        associations=options.pop("associations"),
        nagle=options.pop("nagle"),
    )
    return Generator(load, evolve(target, window=options.pop("window")), timeouts)


def _mixture(size: int | str, files: Sequence[Path]) -> Mixture:
    try:
        if files:
            return Mixture(tuple(_templates(files)))
        if isinstance(size, int):
            return Mixture((made(size),))
        path = Path(size.removeprefix(MIX))
        parts = read_mixture(path.read_text("utf-8"), quantities.size)
        return Mixture(tuple(made(each) for _, each in parts), tuple(weight for weight, _ in parts))
    except BenchError as error:
        raise CommandError(str(error)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{size}: {error}") from None


def _templates(paths: Sequence[Path]) -> list[Template]:
    """Of all files that can be sent under another UID; which cannot, and why, is an error where it was named."""
    templates, pairs = [], set()
    for found in find(paths):
        try:
            instance = examine(found.path)
            template = template_of_file(
                found.path,
                offset=instance.offset,
                sop_class_uid=instance.sop_class_uid,
                sop_instance_uid=instance.sop_instance_uid,
                transfer_syntax=instance.transfer_syntax,
            )
        except (NotDICOM, BenchError) as error:
            if found.named:
                raise BenchError(f"{found.path}: {error}") from None
            continue
        templates.append(template)
        pairs.add(template.pair)
    if not templates:
        raise BenchError("none of the files can be sent")
    if len(pairs) > _MOST_CONTEXTS:
        raise BenchError(f"{len(pairs)} kinds of objects do not fit into one association, which has room for 128")
    return templates


def behaviour(options: dict[str, Any]) -> Behaviour:
    """The sink's behaviour that the options ask for; takes them out of `options`."""
    store, discard = options.pop("store"), options.pop("discard")
    if store and discard:
        raise click.UsageError("--store and --discard cannot both be")
    if store:
        store.mkdir(parents=True, exist_ok=True)
    return Behaviour(
        status=options.pop("status"),
        delay=options.pop("delay"),
        abort_every=options.pop("abort_every") or 0,
        store=store,
        window=options.pop("sink_window") or 0,
    )


def written_again(behaviour: Behaviour) -> list[str]:
    """The options that make a sink behave so."""
    words = ["--status", f"{behaviour.status:04X}", "--delay", f"{behaviour.delay:.6f}s"]
    words += ["--abort-every", str(behaviour.abort_every)] if behaviour.abort_every else []
    words += ["--store", str(behaviour.store)] if behaviour.store else []
    return words + (["--sink-window", str(behaviour.window)] if behaviour.window else [])


def put(figures: dict[str, Any], lines: Sequence[str], json_path: Path | None) -> None:
    """The figures to the file, if there is one, and the lines to the person, unless the file is standard output."""
    if json_path == Path("-"):
        say_json(figures)
        return
    if json_path is not None:
        json_path.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    for line in lines:
        say(line)
