"""The configuration as frozen values: every key of router.toml, its default, and what may stand there.

A class is a table of the file and an attribute is a key; the annotation names the reader of what TOML gave. Durations
are seconds and sizes are bytes here, whatever the file wrote. Not here: the walk through the file (`load`).
"""

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from attrs import evolve, field, frozen

from router import __version__
from router.config import identifiers as text
from router.config import patterns
from router.config import quantities as number
from router.config.conditions import Condition, condition, condition_key, condition_value, required_element
from router.config.identifiers import Endpoint
from router.config.patterns import Globs, Networks, UIDs
from router.config.reading import Each, Entries, One
from router.config.require import Require, requirement
from router.config.statuses import STANDARD, Statuses
from router.model import SpoolSettings

IMPLEMENTATION_CLASS_UID = "2.25.38507084909942000972300432763954023573"
IMPLEMENTATION_VERSION_NAME = f"DICOM_ROUTER_{__version__}"[:16]

COMMITMENT = "storage-commitment"
SERVICES = ("storage", COMMITMENT, "mpps", "mpps-notification", "instance-availability")
"""The service classes that a route can be for."""

ROUTE_KEYS = {
    COMMITMENT: ("require", "deadline", "grace"),
    "mpps": ("answer", "validation"),
    "instance-availability": ("patience", "missing"),
}
"""The keys of a route that only one service knows."""


Wait = Annotated[float, One(number.wait)]
Duration = Annotated[float, One(number.duration)]
PDULength = Annotated[int, One(number.pdu_length)]
AETitle = Annotated[str, One(text.ae_title)]
Patterns = Annotated[Globs, Each(patterns.glob, Globs)]

ALL = Require()
ANYTHING = Globs(("*",))
ANY_NETWORK = Networks((ip_network("0.0.0.0/0"), ip_network("::/0")))
ANY_SOP_CLASS = patterns.sop_classes(("*",))
ANY_TRANSFER_SYNTAX = patterns.transfer_syntaxes(("*",))
EVERYWHERE = Endpoint(host="0.0.0.0", port=11112)
ADMIN = Endpoint(host="127.0.0.1", port=8080)


@frozen(kw_only=True)
class RouterSettings:
    """[router]: who this router is."""

    ae_title: AETitle = "ROUTER"
    listen: Annotated[tuple[Endpoint, ...], Each(text.listening)] = (EVERYWHERE,)
    spool: Annotated[Path, One(text.folder)] = Path("spool")
    unrouted: Annotated[Literal["refuse", "hold"], One(text.one_of("refuse", "hold"))] = "refuse"
    maximum_pdu_length: PDULength = 131072
    implementation_class_uid: Annotated[str, One(text.uid)] = IMPLEMENTATION_CLASS_UID
    implementation_version_name: Annotated[str, One(text.version_name)] = IMPLEMENTATION_VERSION_NAME
    shutdown_grace: Duration = 30.0


@frozen(kw_only=True)
class Listener:
    """[[listeners]], and every entry of `router.listen`: one address to accept associations on.

    In a file, the title and the length are those of [router] where the table does not say otherwise.
    """

    address: Annotated[Endpoint, One(text.listening)]
    ae_title: AETitle = "ROUTER"
    maximum_pdu_length: PDULength = 131072


@frozen(kw_only=True)
class Timeouts:
    """[timeouts]: how long to wait for what, in seconds."""

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
    """[limits]: how much at once."""

    associations: Annotated[int, One(number.between(1, 100_000))] = 500
    associations_per_peer: Annotated[int, One(number.between(1, 100_000))] = 100
    window: Annotated[int, One(number.between(1, 1000))] = 32
    command_set: Annotated[int, One(number.size_between("1KiB", "16MiB"))] = 64 << 10
    object_size: Annotated[int, One(number.size)] = 0
    slowest: Annotated[int, One(number.size_between("1B", "1GiB"))] = 4 << 10
    steps: Annotated[int, One(number.between(1, 10_000_000))] = 100_000


@frozen(kw_only=True)
class AccessSettings:
    """[access]: who may open an association, and to whom."""

    calling_ae: Patterns = ANYTHING
    called_ae: Patterns = ANYTHING
    peer: Annotated[Networks, Each(patterns.network, Networks)] = ANY_NETWORK


@frozen(kw_only=True)
class StorageSettings:
    """[storage]: what the storage service accepts."""

    sop_classes: Annotated[UIDs, Each(patterns.sop_class, patterns.sop_classes)] = ANY_SOP_CLASS
    transfer_syntaxes: Annotated[UIDs, Each(patterns.transfer_syntax, patterns.transfer_syntaxes)] = ANY_TRANSFER_SYNTAX
    prefer: Annotated[tuple[UIDs, ...], Each(patterns.transfer_syntax, patterns.ranked_transfer_syntaxes)] = ()
    calling_ae: Patterns = ANYTHING
    duplicates: Annotated[Literal["forward", "hold", "refuse"], One(text.one_of("forward", "hold", "refuse"))] = (
        "forward"
    )
    require: Annotated[tuple[int, ...], Each(required_element)] = ()


@frozen(kw_only=True)
class Verification:
    """[verification]: who may ask whether the router is there."""

    calling_ae: Patterns = ANYTHING


@frozen(kw_only=True)
class CommitmentSettings:
    """[commitment]: transactions of storage commitment, and who may begin one.

    `deadline` and `grace` are for requests that no route is about.
    """

    calling_ae: Patterns = ANYTHING
    deadline: Wait = 86400.0
    grace: Duration = 30.0
    keep: Wait = 30 * 86400.0


@frozen(kw_only=True)
class MPPSSettings:
    """[mpps]: procedure steps, and who may report and retrieve them."""

    calling_ae: Patterns = ANYTHING
    retrieve_ae: Patterns = ANYTHING
    retransmissions: Annotated[bool, One(text.flag)] = True
    answer_within: Wait = 10.0
    keep: Wait = 30 * 86400.0


@frozen(kw_only=True)
class SpoolTable:
    """[spool]: how the spool keeps what it was given. With `storage.duplicates` it makes the `SpoolSettings`."""

    segment_size: Annotated[int, One(number.size_between("1MiB", "4GiB"))] = 64 << 20
    large_object: Annotated[int, One(number.size_between("4KiB", "256MiB"))] = 1 << 20
    memory: Annotated[int, One(number.size_between("1MiB", "1TiB"))] = 32 << 20
    free_space_floor: Annotated[int, One(number.size)] = 1 << 30
    reserve: Annotated[int, One(number.size)] = 64 << 20
    history: Duration = 86400.0


@frozen(kw_only=True)
class TLS:
    """A table `tls` of something that listens. Without a certificate it does not speak TLS."""

    certificate: Annotated[Path | None, One(text.optional_file)] = None
    """PEM: the certificate, and those between it and its root."""
    key: Annotated[Path | None, One(text.optional_file)] = None
    ca: Annotated[Path | None, One(text.optional_file)] = None
    """PEM: the roots of clients' certificates."""
    client: Annotated[Literal["off", "optional", "require"], One(text.one_of("off", "optional", "require"))] = "off"
    """Whether clients are asked for a certificate."""


@frozen(kw_only=True)
class AdminSettings:
    """[admin]: the HTTP API that the command line talks to."""

    listen: Annotated[Endpoint, One(text.listening)] = ADMIN
    hosts: Annotated[tuple[str, ...], Each(text.host_name)] = ()
    plaintext: Annotated[bool, One(text.flag)] = False
    tls: TLS = TLS()


@frozen(kw_only=True)
class Retry:
    """peers.NAME.retry: the pauses between attempts, and when a person must look."""

    first: Wait = 5.0
    factor: Annotated[float, One(number.factor)] = 2.0
    max: Wait = 600.0
    give_up: Wait = 7 * 86400.0


@frozen(kw_only=True)
class PeerCommitment:
    """peers.NAME.commitment: storage commitment with this peer, as archive and as modality.

    `request` and the numbers are for the router's own requests; `ae_title` and `address` name the AE that does storage
    commitment where the peer's system has one of its own for it.
    """

    request: Annotated[bool, One(text.flag)] = False
    batch: Annotated[int, One(number.between(1, 10_000))] = 500
    after: Wait = 300.0
    within: Wait = 86400.0
    attempts: Annotated[int, One(number.between(1, 1000))] = 5
    reply: Annotated[Literal["new", "same"], One(text.one_of("new", "same"))] = "new"
    ae_title: Annotated[str, One(text.optional_ae_title)] = ""
    address: Annotated[Endpoint | None, One(text.optional_connecting)] = None


@frozen(kw_only=True)
class Peer:
    """[peers.NAME]: one remote AE. Without an address it can only send.

    In a file, `calling_ae` and the length are those of [router] where the table does not say otherwise.
    """

    RENAMED: ClassVar = {
        "commit": "commitment.request",
        "commit_batch": "commitment.batch",
        "commit_after": "commitment.after",
        "commit_within": "commitment.within",
        "commit_attempts": "commitment.attempts",
        "commitment_reply": "commitment.reply",
    }

    name: str
    ae_title: AETitle
    address: Annotated[Endpoint | None, One(text.connecting)] = None
    associations: Annotated[int, One(number.between(1, 1000))] = 1
    window: Annotated[int, One(number.between(1, 1000))] = 1
    linger: Duration = 5.0
    calling_ae: AETitle = "ROUTER"
    maximum_pdu_length: PDULength = 131072
    retry: Retry = Retry()
    commitment: PeerCommitment = PeerCommitment()
    retrieve_ae: Annotated[str, One(text.optional_ae_title)] = ""
    already_stored: Annotated[Literal["hold", "accept"], One(text.one_of("hold", "accept"))] = "hold"

    @property
    def retrieve_title(self) -> str:
        """The AE title that its instances can be retrieved from: `retrieve_ae`, by default its own."""
        return self.retrieve_ae or self.ae_title

    @property
    def commitment_ae(self) -> "Peer":
        """The AE that storage commitment goes to: this peer, or another AE of the same system as a peer of its own."""
        ae_title = self.commitment.ae_title or self.ae_title
        address = self.commitment.address or self.address
        if (ae_title, address) == (self.ae_title, self.address):
            return self
        return evolve(self, name=f"{self.name}:{COMMITMENT}", ae_title=ae_title, address=address)


def visitor(ae_title: str) -> Peer:
    """Return the peer that stands for an AE without an entry under [peers], on associations that it opens."""
    return Peer(name=f"AE:{ae_title}", ae_title=ae_title)


@frozen(kw_only=True)
class Route:
    """[[routes]]: a message of `service` that meets every condition goes to the peers named in `to`."""

    name: Annotated[str, One(text.line)]
    service: Annotated[str, One(text.text)]
    when: Annotated[tuple[Condition, ...], Entries(condition_key, condition_value, condition)] = ()
    to: Annotated[tuple[str, ...], Each(text.text)]
    final: Annotated[bool, One(text.flag)] = False
    answer: Annotated[str, One(text.text)] = "router"
    validation: Annotated[Literal["lenient", "strict"], One(text.one_of("lenient", "strict"))] = "lenient"
    patience: Wait = 3600.0
    missing: Annotated[Literal["omit", "unavailable"], One(text.one_of("omit", "unavailable"))] = "omit"
    require: Annotated[Require, One(requirement)] = ALL
    deadline: Wait = 86400.0
    grace: Duration = 30.0


@frozen(kw_only=True)
class Config:
    """All of router.toml, faultless."""

    router: RouterSettings = RouterSettings()
    listeners: tuple[Listener, ...] = ()
    """Those of `router.listen` first, then the [[listeners]]."""
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    access: AccessSettings = AccessSettings()
    statuses: Statuses = STANDARD
    verification: Verification = Verification()
    storage: StorageSettings = StorageSettings()
    commitment: CommitmentSettings = CommitmentSettings()
    mpps: MPPSSettings = MPPSSettings()
    spool: SpoolSettings = field(factory=SpoolSettings)
    admin: AdminSettings = AdminSettings()
    peers: dict[str, Peer] = field(factory=dict)
    routes: tuple[Route, ...] = ()
    path: Path | None = None
    """The file this came from."""

    @property
    def destinations(self) -> dict[str, Peer]:
        """All that deliveries go to, by name: the peers, and their AEs for storage commitment."""
        return {one.name: one for peer in self.peers.values() for one in (peer, peer.commitment_ae)}
