"""`echo`: verify that a peer answers and accepts our AE title, and how long it takes (C-ECHO)."""

from pathlib import Path
from typing import Any

import click
import trio

from pdu import AcceptedContext
from router.association import AssociationError, RemoteAE, Requestor, plan_contexts
from router.cli.addressing import ae_options, remote_ae
from router.cli.configuration import config_option, read_optional_config
from router.cli.errors import EXIT_FAILED, CommandError
from router.cli.output import json_option, print_json, print_line
from router.config import Timeouts
from router.dicom.uids import UNCOMPRESSED, uid_name
from router.dimse import Command, CommandField, Status, describe
from router.services.verification import VERIFICATION


@click.command()
@click.argument("who", metavar="NAME|HOST:PORT")
@ae_options
@json_option
@config_option
@click.pass_context
def echo(
    ctx: click.Context, who: str, called: str | None, calling: str | None, as_json: bool, config_path: Path
) -> None:
    """Verify the connection to a peer: send a C-ECHO in each uncompressed transfer syntax that it accepts."""
    config = read_optional_config(config_path)
    peer = remote_ae(who, config, called=called, calling=calling)
    try:
        answer = trio.run(_echo, peer, config.timeouts)
    except AssociationError as error:
        raise CommandError(f"{_name(peer)}: {error}") from None
    if as_json:
        print_json(answer)
    else:
        _show(peer, answer)
    statuses = [one["status"] for one in answer["echoes"] if one["accepted"]]
    if not statuses or any(statuses):
        ctx.exit(EXIT_FAILED)


async def _echo(peer: RemoteAE, timeouts: Timeouts) -> dict[str, Any]:
    """Return the peer's answer for each transfer syntax, and how long it took."""
    started = trio.current_time()
    contexts = plan_contexts([(VERIFICATION, transfer_syntax) for transfer_syntax in UNCOMPRESSED])
    async with await Requestor.open(peer, contexts, timeouts) as association:
        opened = trio.current_time()
        echoes = []
        for transfer_syntax in UNCOMPRESSED:
            context = association.contexts.get((VERIFICATION, transfer_syntax))
            if context is None:
                said = {"accepted": False, "words": association.refused[VERIFICATION, transfer_syntax]}
            else:
                said = await _one(association, context)
            echoes.append({"transfer_syntax": transfer_syntax, **said})
    return {
        "peer": f"{peer.host}:{peer.port}",
        "called": peer.called_ae,
        "calling": peer.calling_ae,
        "association_seconds": round(opened - started, 6),
        "echoes": echoes,
    }


async def _one(association: Requestor, context: AcceptedContext) -> dict[str, Any]:
    started = trio.current_time()
    request = Command(field=CommandField.C_ECHO_RQ, affected_sop_class_uid=VERIFICATION)
    response = await association.request(context, request)
    return {
        "accepted": True,
        "status": response.status,
        "words": describe(response.status),
        "seconds": round(trio.current_time() - started, 6),
    }


def _show(peer: RemoteAE, answer: dict[str, Any]) -> None:
    print_line(f"{_name(peer)}: association accepted in {answer['association_seconds'] * 1000:.1f} ms")
    for one in answer["echoes"]:
        name = uid_name(one["transfer_syntax"])
        if one["accepted"]:
            mark = "" if one["status"] == Status.SUCCESS else " (failed)"
            print_line(f"  {name}: {one['words']} in {one['seconds'] * 1000:.1f} ms{mark}")
        else:
            print_line(f"  {one['words']}")


def _name(peer: RemoteAE) -> str:
    return f"{peer.called_ae} at {peer.host}:{peer.port}"
