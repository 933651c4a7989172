"""The peer that `echo`, `send` and `bench` call: NAME|HOST:PORT, --called, --calling."""

from collections.abc import Callable
from typing import Any, Final

import click
from attrs import evolve

from router.association import RemoteAE
from router.config import Config, Endpoint, Peer
from router.config.identifiers import ae_title, connecting

ANY: Final = "ANY-SCP"
"""The called AE title if none is given, as of other tools; few peers check it."""


def _ae_title(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    try:
        return None if value is None else ae_title(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, parameter) from None


def ae_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --called and --calling to a command."""
    for name, text in (
        ("--calling", "Our AE title. [default: as in the configuration]"),
        ("--called", f"The AE title of the peer. [default: as in the configuration, else {ANY}]"),
    ):
        command = click.option(name, metavar="AE", callback=_ae_title, help=text)(command)
    return command


def remote_ae(who: str, config: Config, *, called: str | None, calling: str | None) -> RemoteAE:
    """Return the peer of a name in the configuration, or of an address.

    Raises:
        click.UsageError: it is neither a known name nor an address; exit code 2.
    """
    peer = config.peers.get(who)
    router = config.router
    if peer is not None and peer.address is None:
        raise click.UsageError(f"peer {who} has no address in the configuration: it can only call the router")
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


def peer_for(who: str, config: Config, service: str, *, called: str | None, calling: str | None) -> Peer:
    """Return the AE that provides a service at a peer of the configuration, or at an address.

    Raises:
        click.UsageError: as from `remote_ae`.
    """
    peer = config.destinations.get(f"{who}:{service}") or config.peers.get(who)
    if peer is None:
        peer = Peer(
            name=who,
            ae_title=ANY,
            address=_address(who, config),
            calling_ae=config.router.ae_title,
            maximum_pdu_length=config.router.maximum_pdu_length,
        )
    if peer.address is None:
        raise click.UsageError(f"peer {who} has no address in the configuration: it can only call the router")
    return evolve(peer, ae_title=called or peer.ae_title, calling_ae=calling or peer.calling_ae)


def _address(who: str, config: Config) -> Endpoint:
    try:
        return connecting(who)
    except ValueError:
        known = f" ({', '.join(config.peers)})" if config.peers else ""
        raise click.UsageError(
            f"invalid peer {who!r}: expected a name of the configuration{known} or HOST:PORT"
        ) from None
