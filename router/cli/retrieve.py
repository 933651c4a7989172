"""`retrieve`: fetch instances from a peer into a folder, or have the running router fetch and send them."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
import trio

from router.cli.addressing import ae_options, peer_for
from router.cli.admin_client import admin_option
from router.cli.configuration import config_option, read_optional_config
from router.cli.errors import EXIT_FAILED, CommandError
from router.cli.fetch_by_router import fetch_by_router, progress_bar
from router.cli.find import cancel_on_interrupt
from router.cli.output import count, json_option, print_json, print_line, size
from router.cli.sources import open_running
from router.config import Config, Endpoint, Peer
from router.dicom.dataset import DataSet
from router.dicom.information_models import LEVELS, MODELS, QUERY_RETRIEVE_MODELS, UNIQUE_KEYS, InformationModel
from router.services.query.identifier import InvalidIdentifier, check_identifier
from router.services.retrieve.locate import Wanted
from router.tools.query.keys import InvalidKey, build_identifier, parse_keys
from router.tools.query.keys import Path as KeyPath
from router.tools.retrieve.to_folder import Retrieved, retrieve_to_folder

_MOST_SHOWN: Final = 50
"""Missing instances that are named without --json."""


@click.command()
@click.argument("who", metavar="NAME|HOST:PORT")
@click.argument("words", metavar="KEY=VALUE...", nargs=-1, required=True)
@click.option("--to", "destination", metavar="PEER", help="Have the running router send to this peer only.")
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER", help="Write files here (C-GET)."
)
@click.option(
    "--model",
    type=click.Choice([one.name for one in QUERY_RETRIEVE_MODELS]),
    default="study",
    show_default=True,
    help="The information model.",
)
@click.option("--level", type=click.Choice(LEVELS, case_sensitive=False), help="[default: that of the lowest key]")
@ae_options
@admin_option
@json_option
@config_option
@click.pass_context
def retrieve(
    ctx: click.Context,
    who: str,
    words: tuple[str, ...],
    destination: str | None,
    output: Path | None,
    model: str,
    level: str | None,
    called: str | None,
    calling: str | None,
    as_json: bool,
    config_path: Path,
    admin: Endpoint | None,
) -> None:
    """Retrieve patients, studies, series or instances by their unique keys. Ctrl-C cancels at the peer.

    KEY is PatientID, StudyInstanceUID, SeriesInstanceUID or SOPInstanceUID. With --output no running router is needed.
    Else the running router fetches the instances and sends them through its routes, or with --to to that peer only.
    NAME and PEER are then peers of its configuration; the peer NAME need not know PEER.
    """
    if destination is not None and output is not None:
        raise click.UsageError("--to and --output exclude each other")
    keys = _keys(words, MODELS[model], level)
    if output is None:
        if called is not None or calling is not None:
            raise click.UsageError("--called and --calling go with --output; the running router has its own titles")
        router = open_running(config_path, admin)
        is_complete = fetch_by_router(router, who, Wanted.from_keys(keys), destination, as_json=as_json)
    else:
        config = read_optional_config(config_path)
        source = peer_for(who, config, "", called=called, calling=calling)
        is_complete = _into_folder(config, source, keys, output, as_json=as_json)
    if not is_complete:
        ctx.exit(EXIT_FAILED)


def _keys(words: tuple[str, ...], model: InformationModel, level: str | None) -> DataSet:
    """Return the identifier of the words.

    Raises:
        UsageError: they are none of a retrieve.
    """
    try:
        keys = parse_keys(words)
        identifier = build_identifier(keys, level or _lowest(keys, model))
        for path in keys:
            if path[-1] not in UNIQUE_KEYS.values() or not keys[path]:
                raise InvalidKey("a retrieve has unique keys with values only: PatientID and the three UIDs")
        check_identifier(identifier, model, relational=True)
    except (InvalidKey, InvalidIdentifier) as error:
        raise click.UsageError(str(error)) from None
    return identifier


def _lowest(keys: dict[KeyPath, str], model: InformationModel) -> str:
    given = [level for level in model.levels if (UNIQUE_KEYS[level],) in keys]
    return given[-1] if given else model.levels[0]


async def _until_interrupted(work: Callable[[trio.Event], Any]) -> Any:
    """Run `work` with an event that Ctrl-C sets."""
    cancelled = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel_on_interrupt, cancelled)
        result = await work(cancelled)
        nursery.cancel_scope.cancel()
    return result


def _into_folder(config: Config, peer: Peer, keys: DataSet, folder: Path, *, as_json: bool) -> bool:
    started = time.monotonic()
    with progress_bar(quiet=as_json) as advance:

        def show(done: Retrieved) -> None:
            advance(len(done.files), done.found)

        try:
            done: Retrieved = trio.run(
                _until_interrupted, partial(retrieve_to_folder, config, peer, keys, folder, show)
            )
        except OSError as error:
            raise CommandError(f"{folder}: {error.strerror or error}") from None
    seconds = time.monotonic() - started
    is_complete = not done.missing and not (done.causes and not done.files) and done.found > 0
    if as_json:
        print_json(
            {
                "found": done.found,
                "retrieved": len(done.files),
                "bytes": done.bytes,
                "files": [str(path) for path in done.files],
                "missing": done.missing,
                "causes": list(done.causes),
                "seconds": round(seconds, 3),
            }
        )
        return is_complete
    print_line(
        f"{len(done.files)} of {count(done.found, 'instance')} from {peer.ae_title} at {peer.address}: "
        f"{size(done.bytes)} in {seconds:.1f} s, in {folder}"
    )
    for cause in [*done.causes] if not is_complete else []:
        click.echo(cause, err=True)
    for uid in done.missing[:_MOST_SHOWN]:
        click.echo(f"did not come: {uid}", err=True)
    return is_complete
