"""`find`: query a peer (C-FIND), and show its matches as a table or as JSON. No running router is needed."""

import signal
import threading
from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import Any, Final

import click
import trio
from pydicom.datadict import dictionary_description, dictionary_has_tag

from router.cli.addressing import ae_options, peer_for
from router.cli.configuration import config_option, read_optional_config
from router.cli.errors import EXIT_FAILED
from router.cli.output import count, json_option, print_json, print_line, print_table
from router.config import Config, Peer
from router.dicom.dataset import DataSet
from router.dicom.information_models import LEVELS, MODELS, PATIENT, STUDY, UNIQUE_KEYS, WORKLIST, InformationModel
from router.dicom.tags import tag_name
from router.dimse import describe
from router.tools.query.answers import text_at, values_of
from router.tools.query.find import Found
from router.tools.query.find import find as ask_peer
from router.tools.query.keys import InvalidKey, Path, build_identifier, parse_keys, with_return_keys

MOST_MATCHES: Final = 100_000
"""Matches that are kept for the table, at about 2 kB each; more are not asked for."""


@click.command()
@click.argument("who", metavar="NAME|HOST:PORT")
@click.argument("keys", metavar="KEY[=VALUE]...", nargs=-1)
@click.option(
    "--model", type=click.Choice(list(MODELS)), default="study", show_default=True, help="The information model."
)
@click.option("--level", type=click.Choice(LEVELS, case_sensitive=False), help="[default: the model's highest]")
@click.option(
    "--limit",
    type=click.IntRange(1, MOST_MATCHES),
    default=MOST_MATCHES,
    show_default=True,
    help="Matches after which the query is cancelled.",
)
@ae_options
@json_option
@config_option
@click.pass_context
def find(
    ctx: click.Context,
    who: str,
    keys: tuple[str, ...],
    model: str,
    level: str | None,
    limit: int,
    called: str | None,
    calling: str | None,
    as_json: bool,
    config_path: FilePath,
) -> None:
    """Query a peer, and show its matches. Ctrl-C cancels the query and shows those that have come.

    KEY is a DICOM keyword, a tag as (gggg,eeee), or a path such as ScheduledProcedureStepSequence.Modality. A KEY
    without a value asks for the value; without any of these, the usual values of the level are asked for. * and ? are
    wildcards, a backslash separates several values, 20260101-20260131 is a range.
    """
    config = read_optional_config(config_path)
    chosen = MODELS[model]
    asked_level = level_of(chosen, level)
    try:
        wanted = with_return_keys(parse_keys(keys), chosen, asked_level)
        identifier = build_identifier(wanted, asked_level)
    except InvalidKey as error:
        raise click.UsageError(str(error)) from None
    service = "worklist" if chosen is WORKLIST else "query"
    peer = peer_for(who, config, service, called=called, calling=calling)
    matches: list[DataSet] = []
    found = trio.run(_query, config, peer, chosen, identifier, matches, limit)
    if as_json:
        print_json(_result(peer, chosen, asked_level, found, matches))
    else:
        _show(list(wanted), asked_level, peer, found, matches)
    if not found.outcome.is_complete:
        click.echo(_failure(peer, found), err=True)
        ctx.exit(EXIT_FAILED)


def level_of(model: InformationModel, level: str | None) -> str:
    """Return the level of a query, by default the highest of the model; "" in a worklist.

    Raises:
        UsageError: the model has no such level.
    """
    if level is None:
        return model.levels[0] if model.levels else ""
    if level not in model.levels:
        known = " or ".join(model.levels)
        expected = f"expected {known}" if known else "it has none"
        raise click.UsageError(f"the model {model.name} has no level {level}: {expected}")
    return level


async def _query(
    config: Config, peer: Peer, model: InformationModel, identifier: DataSet, matches: list[DataSet], limit: int
) -> Found:
    cancelled = trio.Event()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel_on_interrupt, cancelled)
        found = await ask_peer(
            config,
            peer,
            model,
            identifier,
            lambda match: matches.append(match.identifier),
            limit=limit,
            cancelled=cancelled,
        )
        nursery.cancel_scope.cancel()
    return found


async def cancel_on_interrupt(cancelled: trio.Event) -> None:
    """Set the event at the first SIGINT; a second one ends the program. Only the main thread gets signals."""
    if threading.current_thread() is not threading.main_thread():
        return
    with trio.open_signal_receiver(signal.SIGINT) as signals:
        async for _ in signals:
            cancelled.set()
            break
    await trio.sleep_forever()


def _result(
    peer: Peer, model: InformationModel, level: str, found: Found, matches: Sequence[DataSet]
) -> dict[str, Any]:
    outcome = found.outcome
    return {
        "peer": peer.name,
        "called": peer.ae_title,
        "model": model.name,
        "level": level,
        "matches": [values_of(match) for match in matches],
        "complete": outcome.is_complete,
        "status": outcome.status,
        "words": _words(found),
        "first_answer_seconds": None if found.first_answer is None else round(found.first_answer, 6),
        "seconds": round(outcome.seconds, 6),
    }


def _words(found: Found) -> str:
    outcome = found.outcome
    if found.is_limited:
        return f"cancelled after {count(outcome.matches, 'match', 'matches')}: there are more; see --limit"
    if outcome.status is None:
        return outcome.cause
    words = describe(outcome.status, "query")
    offending = ", ".join(map(tag_name, outcome.offending))
    detail = ": ".join(filter(None, (offending, outcome.comment)))
    return f"{words} ({detail})" if detail else words


def _failure(peer: Peer, found: Found) -> str:
    return f"{peer.ae_title} at {peer.address}: {_words(found)}"


def _heading(path: Path) -> str:
    """Return the name of an element in words, which can be wrapped."""
    tag = path[-1]
    return dictionary_description(tag) if dictionary_has_tag(tag) else tag_name(tag)


def _show(paths: Sequence[Path], level: str, peer: Peer, found: Found, matches: Sequence[DataSet]) -> None:
    """Print the matches: UIDs stand below their rows, where there is room for them."""
    below_rows = (UNIQUE_KEYS[level or STUDY],)
    is_uid = level != PATIENT
    shown = [path for path in paths if not is_uid or path != below_rows]
    if matches:
        rows = [[text_at(match, path) for path in shown] for match in matches]
        below = [text_at(match, below_rows) for match in matches] if is_uid else []
        print_table([_heading(path) for path in shown], rows, below=below)
    outcome = found.outcome
    total = count(len(matches), "match", "matches")
    first = "" if found.first_answer is None else f", the first after {found.first_answer:.3f} s"
    print_line(f"{total} of {peer.ae_title} at {peer.address} in {outcome.seconds:.3f} s{first}")
