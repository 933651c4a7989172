"""The options of `bench`: the load, the behaviour of the sink, and where to write the figures."""

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
from attrs import evolve

from router.association import RemoteAE
from router.cli.errors import CommandError
from router.cli.output import print_json, print_line
from router.config import quantities
from router.dicom.part10 import NotDICOM
from router.tools.bench import (
    Behaviour,
    BenchError,
    Generator,
    Load,
    Mixture,
    Template,
    ct_template,
    file_template,
    read_mixture,
)
from router.tools.send import examine, find

MIX: Final = "mix:"
_DURATION: Final = 10.0
"""Seconds of a load without --objects and --duration."""
_MOST_CONTEXTS: Final = 128
"""Presentation contexts of an association (PS3.8 9.3.2.2)."""

Command = Callable[..., Any]


def _quantity(read: Callable[[object], Any], ctx: click.Context, parameter: click.Parameter, value: str | None) -> Any:
    try:
        return None if value is None else read(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, parameter) from None


def _hexadecimal(value: object) -> int:
    status = int(str(value).rstrip("Hh"), 16)
    if not 0 <= status <= 0xFFFF:
        raise ValueError("expected four hexadecimal digits, such as A700")
    return status


seconds_of = partial(_quantity, quantities.duration)
_size_of = partial(_quantity, lambda value: value if str(value).startswith(MIX) else quantities.size(value))
_status_of = partial(_quantity, _hexadecimal)

_LOAD: Final = (
    click.option(
        "--size", metavar="SIZE", default="525KB", show_default=True, callback=_size_of,
        help='Size of an object, such as 12KB; or mix:FILE, a file with lines "WEIGHT SIZE".',
    ),
    click.option(
        "--files", multiple=True, metavar="PATH", type=click.Path(exists=True, path_type=Path),
        help="Send these files and folders instead, under new SOP Instance UIDs; may be repeated.",
    ),
    click.option("--objects", type=click.IntRange(1), help="Number of objects to send, over all associations."),
    click.option(
        "--duration", metavar="TIME", callback=seconds_of,
        help=f"Time to send for, such as 30s. [default: {_DURATION:g}s without --objects]",
    ),
    click.option(
        "--associations", type=click.IntRange(1, 10_000), default=1, show_default=True,
        help="Associations to send over at the same time.",
    ),
    click.option(
        "--rate", type=click.FloatRange(0, min_open=True),
        help="Objects/s to send, whether or not the peer keeps up; latency then counts from when an object was due.",
    ),
    click.option(
        "--window", type=click.IntRange(1, 65535), default=1, show_default=True,
        help="Outstanding requests to propose for each association (asynchronous operations window).",
    ),
    click.option("--nagle", is_flag=True, help="Leave Nagle's algorithm on and write PDU by PDU, as modalities do."),
)  # fmt: skip
_SINK: Final = (
    click.option("--delay", metavar="TIME", default="0s", callback=seconds_of, help="Wait before each response."),
    click.option("--status", metavar="HEX", default="0000", callback=_status_of, help="Respond with this status."),
    click.option(
        "--abort-every", type=click.IntRange(1), metavar="N",
        help="Abort the association instead of responding to every N-th object."
    ),
    click.option(
        "--store", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER",
        help="Write objects to files (PS3.10) in this folder, without a sync.",
    ),
    click.option("--discard", is_flag=True, help="Write nothing to files: the default."),
    click.option("--sink-window", type=click.IntRange(1), help="Grant at most this many outstanding requests."),
)  # fmt: skip
json_option: Final = click.option(
    "--json", "json_path", metavar="FILE", type=click.Path(path_type=Path, allow_dash=True, dir_okay=False),
    help="Write the figures to this file as JSON; - is standard output, without other output.",
)  # fmt: skip


def load_options(command: Command) -> Command:
    """Add the options of the load to a command; `generator` reads them."""
    return _with(command, _LOAD)


def sink_options(command: Command) -> Command:
    """Add the options of the sink to a command; `behaviour` reads them."""
    return _with(command, _SINK)


def _with(command: Command, options: Iterable[Callable[[Command], Command]]) -> Command:
    for option in reversed(list(options)):
        command = option(command)
    return command


def generator(target: RemoteAE, options: dict[str, Any], timeouts: Any) -> Generator:
    """Return the generator that the options ask for, and remove them from `options`."""
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
            return Mixture((ct_template(size),))
        path = Path(size.removeprefix(MIX))
        parts = read_mixture(path.read_text("utf-8"), quantities.size)
        return Mixture(tuple(ct_template(each) for _, each in parts), tuple(weight for weight, _ in parts))
    except BenchError as error:
        raise CommandError(str(error)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{size}: {error}") from None


def _templates(paths: Sequence[Path]) -> list[Template]:
    """Return templates of all files that can be sent under another UID.

    Raises:
        BenchError: a file that was named itself, not by its folder, cannot be; or none of the files can.
    """
    templates, syntaxes = [], set()
    for found in find(paths):
        try:
            instance = examine(found.path)
            template = file_template(
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
        syntaxes.add(template.syntaxes)
    if not templates:
        raise BenchError("none of the files can be sent")
    if len(syntaxes) > _MOST_CONTEXTS:
        raise BenchError(f"{len(syntaxes)} kinds of objects do not fit into one association of at most 128")
    return templates


def behaviour(options: dict[str, Any]) -> Behaviour:
    """Return the sink behaviour that the options ask for, and remove them from `options`."""
    store, discard = options.pop("store"), options.pop("discard")
    if store and discard:
        raise click.UsageError("--store and --discard exclude each other")
    if store:
        store.mkdir(parents=True, exist_ok=True)
    return Behaviour(
        status=options.pop("status"),
        delay=options.pop("delay"),
        abort_every=options.pop("abort_every") or 0,
        store=store,
        window=options.pop("sink_window") or 0,
    )


def write_figures(figures: dict[str, Any], lines: Sequence[str], json_path: Path | None) -> None:
    """Write the figures to the file, if one was given, and print the lines unless the file is standard output."""
    if json_path == Path("-"):
        print_json(figures)
        return
    if json_path is not None:
        json_path.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    for line in lines:
        print_line(line)
