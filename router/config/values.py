"""The configuration as frozen values: every key of router.toml that is not a service's, and its default.

A class is a table of the file and an attribute is a key; the annotation names the reader of what TOML gave. Durations
are seconds and sizes are bytes here, whatever the file wrote. Not here: the walk through the file (`load`) and the
keys of single services (`options`).
"""

from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal

import attrs
from attrs import evolve, field, frozen

from router import __version__
from router.config import identifiers as text
from router.config import patterns
from router.config import quantities as number
from router.config.conditions import Condition, condition, condition_key, condition_value
from router.config.identifiers import Endpoint
from router.config.keys import ANYTHING, AETitle, Duration, Flag, Patterns, PDULength, Wait
from router.config.options import Options, Registered, ServiceAE
from router.config.patterns import Networks
from router.config.reading import Each, Entries, One
from router.config.statuses import STANDARD, Statuses
from router.model import SpoolSettings

IMPLEMENTATION_CLASS_UID = "2.25.38507084909942000972300432763954023573"
IMPLEMENTATION_VERSION_NAME = f"DICOM_ROUTER_{__version__}"[:16]

ANY_NETWORK = Networks((ip_network("0.0.0.0/0"), ip_network("::/0")))
ALL_INTERFACES = Endpoint(host="0.0.0.0", port=11112)
ADMIN_ADDRESS = Endpoint(host="127.0.0.1", port=8080)


@frozen(kw_only=True)
class RouterSettings:
    """[router]: identity, addresses and spool of this router."""

    ae_title: AETitle = "ROUTER"
    listen: Annotated[tuple[Endpoint, ...], Each(text.listening)] = (ALL_INTERFACES,)
    spool: Annotated[Path, One(text.folder)] = Path("spool")
    unrouted: Annotated[Literal["refuse", "hold"], One(text.one_of("refuse", "hold"))] = "refuse"
    maximum_pdu_length: PDULength = 131072
    implementation_class_uid: Annotated[str, One(text.uid)] = IMPLEMENTATION_CLASS_UID
    implementation_version_name: Annotated[str, One(text.version_name)] = IMPLEMENTATION_VERSION_NAME
    shutdown_grace: Duration = 30.0


@frozen(kw_only=True)
class Listener:
    """[[listeners]], and every entry of `router.listen`: one address to accept associations on.

    In a file, AE title and PDU length default to those of [router].
    """

    address: Annotated[Endpoint, One(text.listening)]
    ae_title: AETitle = "ROUTER"
    maximum_pdu_length: PDULength = 131072


@frozen(kw_only=True)
class Timeouts:
    """[timeouts]: deadlines on an association, in seconds."""

    artim: Wait = 30.0
    connect: Wait = 10.0
    association: Wait = 30.0
    dimse: Wait = 60.0
    idle: Wait = 300.0
    message: Wait = 300.0
    write: Wait = 60.0
    release: Wait = 10.0


@frozen(kw_only=True)
class Limits:
    """[limits]: upper limits of counts, bytes, and bytes per second (`slowest`)."""

    associations: Annotated[int, One(number.between(1, 100_000))] = 500
    associations_per_peer: Annotated[int, One(number.between(1, 100_000))] = 100
    window: Annotated[int, One(number.between(1, 1000))] = 32
    command_set: Annotated[int, One(number.size_between("1KiB", "16MiB"))] = 64 << 10
    object_size: Annotated[int, One(number.size)] = 0
    slowest: Annotated[int, One(number.size_between("1B", "1GiB"))] = 4 << 10
    steps: Annotated[int, One(number.between(1, 10_000_000))] = 100_000


@frozen(kw_only=True)
class AccessSettings:
    """[access]: AE titles and networks that may open an association, and AE titles that may be called."""

    calling_ae: Patterns = ANYTHING
    called_ae: Patterns = ANYTHING
    peer: Annotated[Networks, Each(patterns.network, Networks)] = ANY_NETWORK


@frozen(kw_only=True)
class SpoolTable:
    """[spool]: how the spool keeps messages. `load` makes `SpoolSettings` of it."""

    segment_size: Annotated[int, One(number.size_between("1MiB", "4GiB"))] = 64 << 20
    large_object: Annotated[int, One(number.size_between("4KiB", "256MiB"))] = 1 << 20
    memory: Annotated[int, One(number.size_between("1MiB", "1TiB"))] = 32 << 20
    free_space_floor: Annotated[int, One(number.size)] = 1 << 30
    reserve: Annotated[int, One(number.size)] = 64 << 20
    history: Duration = 86400.0


@frozen(kw_only=True)
class TLS:
    """A table `tls` of a listener, which speaks TLS if a certificate is given."""

    certificate: Annotated[Path | None, One(text.optional_file)] = None
    """PEM file: the certificate, and those between it and its root."""
    key: Annotated[Path | None, One(text.optional_file)] = None
    ca: Annotated[Path | None, One(text.optional_file)] = None
    """PEM file: the roots of clients' certificates."""
    client: Annotated[Literal["off", "optional", "require"], One(text.one_of("off", "optional", "require"))] = "off"
    """Whether clients are asked for a certificate, or need one."""


@frozen(kw_only=True)
class AdminSettings:
    """[admin]: the HTTP API that the command line uses."""

    listen: Annotated[Endpoint, One(text.listening)] = ADMIN_ADDRESS
    hosts: Annotated[tuple[str, ...], Each(text.host_name)] = ()
    plaintext: Flag = False
    tls: TLS = TLS()


@frozen(kw_only=True)
class Retry:
    """peers.NAME.retry: the pauses between attempts, and the age at which a delivery is held, in seconds."""

    first: Wait = 5.0
    factor: Annotated[float, One(number.factor)] = 2.0
    max: Wait = 600.0
    give_up: Wait = 7 * 86400.0


@frozen(kw_only=True)
class Peer:
    """[peers.NAME]: one remote AE. Without an address it can only send.

    In a file, `calling_ae` and the PDU length default to AE title and PDU length of [router].
    """

    name: str
    ae_title: AETitle
    address: Annotated[Endpoint | None, One(text.connecting)] = None
    associations: Annotated[int, One(number.between(1, 1000))] = 1
    window: Annotated[int, One(number.between(1, 1000))] = 1
    linger: Duration = 5.0
    calling_ae: AETitle = "ROUTER"
    maximum_pdu_length: PDULength = 131072
    retry: Retry = Retry()
    retrieve_ae: Annotated[str, One(text.optional_ae_title)] = ""
    options: Registered = field(factory=Options)
    """The keys that services add to a peer."""

    @property
    def retrieve_title(self) -> str:
        """The AE title from which its instances can be retrieved: `retrieve_ae`, by default its own."""
        return self.retrieve_ae or self.ae_title

    def ae_for(self, table: ServiceAE) -> "Peer":
        """Return the AE that provides the service of `table`: this peer, or another AE of its system as a peer."""
        ae_title, address = table.ae_title or self.ae_title, table.address or self.address
        if (ae_title, address) == (self.ae_title, self.address):
            return self
        return evolve(self, name=f"{self.name}:{table.service}", ae_title=ae_title, address=address)

    def aes(self) -> Iterator["Peer"]:
        """Yield this peer and the other AEs of its system, each of which provides one service."""
        yield self
        for options in self.options.values:
            for key in attrs.fields_dict(type(options)):
                if isinstance(table := getattr(options, key), ServiceAE):
                    yield self.ae_for(table)


def unconfigured_peer(ae_title: str) -> Peer:
    """Return a peer for an AE without an entry under [peers]; it can be reached on associations that it opens only."""
    return Peer(name=f"AE:{ae_title}", ae_title=ae_title)


@frozen(kw_only=True)
class Route:
    """[[routes]]: a message of `service` that meets every condition of `when` goes to the peers named in `to`."""

    name: Annotated[str, One(text.line)]
    service: Annotated[str, One(text.text)]
    when: Annotated[tuple[Condition, ...], Entries(condition_key, condition_value, condition)] = ()
    to: Annotated[tuple[str, ...], Each(text.text)]
    final: Flag = False
    options: Registered = field(factory=Options)
    """The keys that its service adds."""


@frozen(kw_only=True)
class Config:
    """The whole of router.toml, without faults."""

    router: RouterSettings = RouterSettings()
    listeners: tuple[Listener, ...] = ()
    """The listeners of `router.listen` first, then [[listeners]]."""
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    access: AccessSettings = AccessSettings()
    statuses: Statuses = STANDARD
    spool: SpoolSettings = field(factory=SpoolSettings)
    admin: AdminSettings = AdminSettings()
    options: Registered = field(factory=Options)
    """The tables of services."""
    peers: dict[str, Peer] = field(factory=dict)
    routes: tuple[Route, ...] = ()
    path: Path | None = None
    """The file that was read; None for a configuration made in code."""

    @property
    def destinations(self) -> dict[str, Peer]:
        """Everything that deliveries go to, by name: the peers, and their AEs for single services."""
        return {ae.name: ae for peer in self.peers.values() for ae in peer.aes()}
