"""NAME|HOST:PORT: whom `echo` and `send` call, and as whom."""

from collections.abc import Callable
from typing import Any, Final

import click

from router.association import RemoteAE
from router.config import Config, Endpoint
from router.config.identifiers import ae_title, connecting

ANY: Final = "ANY-SCP"
"""The called AE title where nobody has said one: what other tools send then, and few peers look at."""


def _ae_title(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    try:
        return None if value is None else ae_title(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, parameter) from None


def ae_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command --called and --calling."""
    for name, words in (
        ("--calling", "Our AE title; that of the configuration unless told."),
        ("--called", f"The peer's AE title; that of the configuration, or {ANY}, unless told."),
    ):
        command = click.option(name, metavar="AE", callback=_ae_title, help=words)(command)
    return command


def target(who: str, config: Config, *, called: str | None, calling: str | None) -> RemoteAE:
    """The peer by its name in the configuration, or by its address.

    Raises:
        click.UsageError: it is neither; exit code 2.
    """
    peer = config.peers.get(who)
    router = config.router
    if peer is not None and peer.address is None:
        raise click.UsageError(f"the peer {who} has no address in the configuration: it can only call us")
    address = peer.address if peer is not None and peer.address is not None else _address(who, config)
    return RemoteAE(
        host=address.host,
        port=address.port,
        called_ae=called or (peer.ae_title if peer else ANY),
        calling_ae=calling or (peer.calling_ae if peer else router.ae_title),
        maximum_pdu_length=peer.maximum_pdu_length if peer else router.maximum_pdu_length,
        implementation_class_uid=router.implementation_class_uid,
        implementation_version_name=router.implementation_version_name,
    )


def _address(who: str, config: Config) -> Endpoint:
    try:
        return connecting(who)
    except ValueError:
        known = f"; there are {', '.join(config.peers)}" if config.peers else ""
        raise click.UsageError(
            f"{who!r} is neither a peer of the configuration{known} nor an address as HOST:PORT"
        ) from None
