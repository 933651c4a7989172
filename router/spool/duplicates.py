"""Find which deliveries of a new message are not under way already (docs/spool.md, "Duplicates").

A message is compared with the ledger and with the rest of its batch, before anything is written: by length, CRC, and
then the bytes. Large data sets are not compared here, because that would hold up every sender: `Unsure` sends them back
to their own task. The writer only, but for `is_same`.
"""

from collections.abc import Iterable, Sequence

from attrs import define, evolve, frozen

from router.model import Envelope, Recipient
from router.spool.disk.directories import Directories
from router.spool.errors import DamagedMessage, DuplicateRefused
from router.spool.incoming import Incoming
from router.spool.jobs import Commit, Unsure
from router.spool.ledger.ledger import Ledger
from router.spool.ledger.rows import EarlierMessage
from router.spool.values import C_STORE, NO_ROUTE, Place

_COMPARED = 16
"""Newest messages of the same length and CRC whose bytes are compared: a limit to how long others wait."""
CONFLICT = "another data set with the same SOP Instance UID is not finished"


@frozen
class DuplicateVerdict:
    """The deliveries to write."""

    deliveries: tuple[Recipient, ...]
    """Empty for a duplicate."""
    hold: str


@define(eq=False)
class Planned:
    """An earlier message of the same batch."""

    message_id: int
    envelope: Envelope
    """With the deliveries that will be written."""
    incoming: Incoming


def instances_of(commits: Iterable[Commit], ledger: Ledger) -> dict[str, list[EarlierMessage]]:
    """Look up what the ledger has of the instances in a batch, by SOP Instance UID."""
    uids = {commit.envelope.sop_instance_uid for commit in commits}
    return ledger.unfinished_of(list(uids), C_STORE)


def is_compared(envelope: Envelope) -> bool:
    """Return whether duplicates of a message are looked for."""
    return envelope.kind == C_STORE and bool(envelope.sop_instance_uid)


def check_duplicate(
    commit: Commit,
    known: Sequence[EarlierMessage],
    ledger: Ledger,
    store: Directories,
    batch: Sequence[Planned],
    policy: str,
) -> DuplicateVerdict | Unsure:
    """Decide which deliveries of a commit to write, and whether they begin held.

    `known`: what the ledger has of the instance; `batch`: earlier messages of the batch with the same SOP Instance UID;
    `policy`: `spool.duplicates`.

    Raises:
        DuplicateRefused: other bytes with the same UID are unfinished, and the policy is "refuse".
    """
    envelope = commit.envelope
    wanted = _once(envelope.deliveries) or (Recipient(destination=""),)
    hold = "" if envelope.deliveries else NO_ROUTE
    if not is_compared(envelope):
        return DuplicateVerdict(wanted, hold)
    found = _already_going(commit, known, ledger, store, batch)
    if isinstance(found, Unsure):
        return found
    going, conflict = found
    left = _left(wanted, going)
    if not left or not conflict or policy == "forward":
        return DuplicateVerdict(left, hold)
    if policy == "refuse":
        raise DuplicateRefused(CONFLICT)
    return DuplicateVerdict(left, hold or CONFLICT)


def _already_going(
    commit: Commit, known: Sequence[EarlierMessage], ledger: Ledger, store: Directories, batch: Sequence[Planned]
) -> tuple[set[tuple[str, int]], bool] | Unsure:
    """Return (destination, purpose) with the same bytes unfinished, and whether other bytes are unfinished."""
    incoming = commit.incoming
    size, crc = incoming.size, incoming.crc
    going: set[tuple[str, int]] = set()
    conflict = False
    unsure: list[int] = []
    alike = 0
    for planned in batch:
        other = planned.incoming
        if other.size != size or other.crc != crc:
            conflict = True
        elif incoming.file or other.file:
            unsure.append(planned.message_id)
        elif other.data == incoming.data:
            going.update((address.destination, address.purpose) for address in planned.envelope.deliveries)
        else:
            conflict = True
    for one in known:
        message_id, place = one.message_id, one.place
        if (place.data_length, place.data_crc) != (size, crc):
            conflict = True
            continue
        alike += 1
        if alike > _COMPARED:
            continue
        large = incoming.file or place.file
        same = commit.compared.get(message_id) if large else is_same(store, place, incoming)
        if same is None:
            unsure.append(message_id)
        elif same:
            going |= ledger.unfinished_deliveries(message_id)
        else:
            conflict = True
    if unsure:
        return Unsure(unsure)
    return going, conflict


def is_same(store: Directories, place: Place, incoming: Incoming) -> bool:
    """Return whether a stored data set has the bytes of a new one. From any thread.

    False if the stored one cannot be read, so that the new one is kept.
    """
    try:
        with incoming.view() as view:
            at = 0
            for piece in store.pieces(place):
                if view[at : at + len(piece)] != piece:
                    return False
                at += len(piece)
    except (OSError, DamagedMessage):
        return False
    return at == incoming.size


def _once(deliveries: tuple[Recipient, ...]) -> tuple[Recipient, ...]:
    """Leave out destinations that were named before for the same purpose."""
    if len(deliveries) < 2:
        return deliveries
    seen: dict[tuple[str, int], Recipient] = {}
    for address in deliveries:
        seen.setdefault((address.destination, address.purpose), address)
    return tuple(seen.values())


def _left(wanted: tuple[Recipient, ...], going: set[tuple[str, int]]) -> tuple[Recipient, ...]:
    """Return the deliveries that are not under way.

    Retaining and sending for one destination stay in one message: its delivery tells when the destination may be asked
    to commit.
    """
    left = {address.destination for address in wanted if (address.destination, address.purpose) not in going}
    return tuple(address for address in wanted if address.destination in left)


def with_deliveries(envelope: Envelope, deliveries: tuple[Recipient, ...]) -> Envelope:
    return envelope if envelope.deliveries == deliveries else evolve(envelope, deliveries=deliveries)
