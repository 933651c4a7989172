"""Engines without sockets: feed one in pieces, or couple two back to back."""

from collections.abc import Iterable, Iterator, Sequence

from attrs import define, field

from pdu import (
    Answer,
    AssociateAC,
    AssociateIndication,
    AssociateRQ,
    CloseTransport,
    ContextResult,
    Effect,
    Fragment,
    Indication,
    PresentationContext,
    Role,
    Send,
    StartArtim,
    StopArtim,
    UpperLayer,
    UserInformation,
    negotiate,
    prefer,
)

VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
JPEG_2000 = "1.2.840.10008.1.2.4.90"

Piece = tuple[int, bool, bool, bytes]
"""A fragment whose data has been copied: context ID, command?, last?, data."""


def information(maximum_length: int = 131072) -> UserInformation:
    return UserInformation(maximum_length=maximum_length, implementation_class_uid="2.25.1")


def request(maximum_length: int = 131072, contexts: Sequence[PresentationContext] = ()) -> AssociateRQ:
    """A request for context 1 (verification) and 3 (CT), or for others."""
    usual = (
        PresentationContext(id=1, abstract_syntax=VERIFICATION, transfer_syntaxes=(IMPLICIT,)),
        PresentationContext(id=3, abstract_syntax=CT, transfer_syntaxes=(JPEG_2000, EXPLICIT)),
        PresentationContext(id=5, abstract_syntax="1.2.3.4", transfer_syntaxes=(IMPLICIT,)),
    )
    return AssociateRQ(
        called_ae_title="ARCHIVE",
        calling_ae_title="CT1",
        presentation_contexts=tuple(contexts) or usual,
        user_information=information(maximum_length),
    )


def answer_to(rq: AssociateRQ, maximum_length: int = 131072) -> AssociateAC:
    """Accept verification and CT, each in the first transfer syntax; refuse the rest."""

    def choose(context: PresentationContext) -> str | ContextResult:
        if context.abstract_syntax not in (VERIFICATION, CT):
            return ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED
        chosen = prefer(context.transfer_syntaxes, lambda _: True)
        return chosen or ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED

    return AssociateAC(
        called_ae_title=rq.called_ae_title,
        calling_ae_title=rq.calling_ae_title,
        presentation_contexts=negotiate(rq.presentation_contexts, choose),
        user_information=information(maximum_length),
    )


def in_pieces(data: bytes, size: int) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def copied(answer: Answer) -> list[Effect | Indication | Piece]:
    """The answer with every fragment's data copied, so that it can be kept."""
    return [(*each[:3], bytes(each.data)) if isinstance(each, Fragment) else each for each in answer]


def feed(engine: UpperLayer, data: bytes, size: int = 1 << 30) -> list[Effect | Indication | Piece]:
    """Let the engine receive `data` in pieces of at most `size` bytes and of what it lends; no more after it closed."""
    out: list[Effect | Indication | Piece] = []
    while data:
        room = engine.writable()
        piece = data[: min(size, len(room))]
        room[: len(piece)] = piece
        data = data[len(piece) :]
        out += copied(engine.received(len(piece)))
        if CloseTransport() in out:
            break
    return out


def sent(answer: Iterable[object]) -> bytes:
    """All that is to be written."""
    return b"".join(bytes(b) for each in answer if isinstance(each, Send) for b in each.buffers)


def told(answer: Iterable[object]) -> list[object]:
    """What is left without the effects."""
    return [e for e in answer if not isinstance(e, Send | StartArtim | StopArtim | CloseTransport)]


@define
class Side:
    """One engine, what it was told, and whether its transport is open."""

    engine: UpperLayer
    told: list[object] = field(factory=list)
    closed: bool = False
    outbox: bytearray = field(factory=bytearray)

    def perform(self, answer: Iterable[object]) -> None:
        answer = copied(list(answer))  # type: ignore[arg-type]
        self.told += told(answer)
        self.outbox += sent(answer)
        self.closed = self.closed or CloseTransport() in answer


class Couple:
    """A requestor and an acceptor whose transports are each other. Bytes travel when `run` is called, in pieces of
    at most `size`."""

    def __init__(self, *, maximum_length: int = 131072, size: int = 1 << 30, buffer_size: int = 262144) -> None:
        self.size = size
        engines = (
            UpperLayer(role=role, maximum_length=maximum_length, buffer_size=buffer_size)
            for role in (Role.REQUESTOR, Role.ACCEPTOR)
        )
        self.requestor, self.acceptor = map(Side, engines)
        self.rq = request(maximum_length)
        self.ac = answer_to(self.rq, maximum_length)

    def connect(self) -> None:
        self.requestor.perform(self.requestor.engine.associate(self.rq))
        self.acceptor.perform(self.acceptor.engine.transport_connected())
        self.requestor.perform(self.requestor.engine.transport_connected())

    def associate(self) -> None:
        self.connect()
        self.run()
        assert self.acceptor.told == [AssociateIndication(self.rq)]
        self.acceptor.perform(self.acceptor.engine.accept(self.ac))
        self.run()
        self.requestor.told.clear()
        self.acceptor.told.clear()

    def run(self) -> None:
        """Deliver what waits, both ways, until nothing does; a closed side's end of stream included."""
        sides = ((self.requestor, self.acceptor), (self.acceptor, self.requestor))
        while any(sender.outbox and not receiver.closed for sender, receiver in sides):
            for sender, receiver in sides:
                data, sender.outbox = bytes(sender.outbox), bytearray()
                for piece in in_pieces(data, self.size):
                    if not receiver.closed:
                        self._deliver(receiver, piece)
        for sender, receiver in sides:
            if sender.closed and not receiver.closed:
                receiver.perform(receiver.engine.received(0))

    @staticmethod
    def _deliver(receiver: Side, data: bytes) -> None:
        while data and not receiver.closed:
            room = receiver.engine.writable()
            step = min(len(room), len(data))
            room[:step] = data[:step]
            receiver.perform(receiver.engine.received(step))
            data = data[step:]
