"""Writer and reader against the same examples, then what a reader must refuse."""

from collections.abc import Iterable

import pytest

from pdu import (
    PDU,
    Abort,
    AbortReason,
    AbortSource,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    ContextResult,
    InvalidParameterValue,
    LocalError,
    Overrun,
    PDataTF,
    ProtocolError,
    Rejection,
    UnexpectedParameter,
    UnknownItem,
    UnrecognizedPDU,
    UserIdentity,
    decode,
    encode,
)
from pdu.framing import Body, Framing, Header
from pdu.reader import decode_body
from tests.pdu.coupling import in_pieces, request
from tests.pdu.examples import APPLICATION_CONTEXT, EXAMPLES, titles

every_example = pytest.mark.parametrize(("pdu", "data"), EXAMPLES.values(), ids=EXAMPLES)


def gathered(pieces: Iterable[bytes]) -> list[PDU]:
    """All PDUs of a stream, whatever their kind, gathered whole."""
    framing = Framing(64)
    found: list[PDU] = []
    for piece in pieces:
        for part in in_pieces(piece, 32):
            framing.writable()[: len(part)] = part
            framing.arrived(len(part))
            while (item := framing.next([])) is not None:
                match item:
                    case Header():
                        framing.gather(item)
                    case Body():
                        found.append(decode_body(item.pdu_type, item.data))
    return found


@every_example
def test_writer_writes_the_bytes_of_the_tables(pdu: PDU, data: bytes) -> None:
    assert encode(pdu).hex(" ") == data.hex(" ")


@every_example
def test_reader_reads_a_pdu_whole(pdu: PDU, data: bytes) -> None:
    assert decode(data) == pdu
    assert gathered([data]) == [pdu]


@every_example
def test_reader_reads_a_pdu_byte_by_byte(pdu: PDU, data: bytes) -> None:
    assert gathered(in_pieces(data, 1)) == [pdu]
    assert gathered(in_pieces(data[:-1], 1)) == []


@every_example
def test_reader_leaves_trailing_bytes_to_the_next_pdu(pdu: PDU, data: bytes) -> None:
    assert gathered([data + data[:5]]) == [pdu]
    assert gathered([data + data[:5], data[5:]]) == [pdu, pdu]


@every_example
def test_a_pdu_cut_anywhere_is_an_overrun(pdu: PDU, data: bytes) -> None:
    for end in range(len(data)):
        with pytest.raises(Overrun):
            decode(data[:end])


# -- lengths -------------------------------------------------------------------------------------------------------

USER_INFORMATION = b"\x50\x00\x00\x0f\x51\x00\x00\x04\x00\x00\x40\x00\x52\x00\x00\x031.9"
CONTEXT = b"\x20\x00\x00\x12\x01\x00\x00\x00\x30\x00\x00\x031.2\x40\x00\x00\x031.3"


def rq(items: bytes, fixed: bytes = titles(b"A", b"B")) -> bytes:
    body = fixed + items
    return b"\x01\x00" + len(body).to_bytes(4, "big") + body


def ac(*contexts: bytes) -> bytes:
    body = titles(b"A", b"B") + APPLICATION_CONTEXT + b"".join(contexts) + USER_INFORMATION
    return b"\x02\x00" + len(body).to_bytes(4, "big") + body


def item(item_type: int, data: bytes) -> bytes:
    return bytes((item_type, 0)) + len(data).to_bytes(2, "big") + data


def information(*sub_items: bytes) -> bytes:
    """A request whose user information is these sub-items."""
    return rq(APPLICATION_CONTEXT + CONTEXT + item(0x50, b"".join(sub_items)))


INVALID: dict[str, tuple[bytes, type[ProtocolError]]] = {
    "no fixed part": (rq(b"", b"\x00\x01"), Overrun),
    "an item that overruns its PDU": (rq(APPLICATION_CONTEXT + CONTEXT + b"\x50\x00\xff\xff"), Overrun),
    "half an item header": (rq(APPLICATION_CONTEXT + CONTEXT + USER_INFORMATION + b"\x50"), Overrun),
    "a context shorter than its fixed part": (rq(item(0x20, b"\x01\x00\x00") + USER_INFORMATION), Overrun),
    "a sub-item that overruns its context": (
        rq(item(0x20, b"\x01\x00\x00\x00\x30\x00\x00\x091.2") + USER_INFORMATION),
        Overrun,
    ),
    "no context at all": (rq(APPLICATION_CONTEXT + USER_INFORMATION), UnexpectedParameter),
    "a context without abstract syntax": (
        rq(item(0x20, b"\x01\x00\x00\x00\x40\x00\x00\x031.3") + USER_INFORMATION),
        UnexpectedParameter,
    ),
    "a context with two abstract syntaxes": (
        rq(item(0x20, b"\x01\x00\x00\x00" + item(0x30, b"1.2") * 2) + USER_INFORMATION),
        UnexpectedParameter,
    ),
    "an even context ID": (rq(CONTEXT.replace(b"\x01", b"\x02") + USER_INFORMATION), InvalidParameterValue),
    "a context ID of zero": (rq(CONTEXT.replace(b"\x01", b"\x00") + USER_INFORMATION), InvalidParameterValue),
    "a context ID used twice": (rq(CONTEXT * 2 + USER_INFORMATION), InvalidParameterValue),
    "no user information": (rq(APPLICATION_CONTEXT + CONTEXT), UnexpectedParameter),
    "user information twice": (rq(CONTEXT + USER_INFORMATION * 2), UnexpectedParameter),
    "application context twice": (
        rq(APPLICATION_CONTEXT * 2 + CONTEXT + USER_INFORMATION),
        UnexpectedParameter,
    ),
    "maximum length twice": (information(item(0x51, bytes(4)) * 2), UnexpectedParameter),
    "maximum length of two bytes": (information(item(0x51, bytes(2))), Overrun),
    "maximum length of five bytes": (information(item(0x51, bytes(5))), InvalidParameterValue),
    "window of three bytes": (information(item(0x53, bytes(3))), Overrun),
    "window of five bytes": (information(item(0x53, bytes(5))), InvalidParameterValue),
    "role without its flags": (information(item(0x54, b"\x00\x031.2\x01")), Overrun),
    "role with a flag too many": (information(item(0x54, b"\x00\x031.2\x01\x01\x01")), InvalidParameterValue),
    "role whose UID overruns": (information(item(0x54, b"\xff\xff1.2\x01\x01")), Overrun),
    "extended negotiation without a UID": (information(item(0x56, b"\x00")), Overrun),
    "common extended whose list overruns": (
        information(item(0x57, b"\x00\x011\x00\x012\x00\x04\x00\x091.")),
        Overrun,
    ),
    "user identity cut short": (information(item(0x58, b"\x01\x00\x00\x03jo")), Overrun),
    "user identity with a tail": (
        information(item(0x58, b"\x01\x00\x00\x01j\x00\x00.")),
        InvalidParameterValue,
    ),
    "user identity response with a tail": (information(item(0x59, b"\x00\x00.")), InvalidParameterValue),
    "acceptance without a transfer syntax": (ac(item(0x21, b"\x01\x00\x00\x00")), UnexpectedParameter),
    "two transfer syntaxes in an answer": (
        ac(item(0x21, b"\x01\x00\x00\x00" + item(0x40, b"1.3") * 2)),
        UnexpectedParameter,
    ),
    "a context ID answered twice": (
        ac(item(0x21, b"\x01\x00\x03\x00"), item(0x21, b"\x01\x00\x03\x00")),
        InvalidParameterValue,
    ),
    "a thousand items and more": (rq(CONTEXT + USER_INFORMATION + item(0x99, b"") * 1023), InvalidParameterValue),
    "a type that is not in the standard": (b"\x08\x00\x00\x00\x00\x00", UnrecognizedPDU),
    "a release of five bytes": (b"\x05\x00\x00\x00\x00\x05" + bytes(5), InvalidParameterValue),
    "a release response of three bytes": (b"\x06\x00\x00\x00\x00\x03" + bytes(3), InvalidParameterValue),
    "a PDV that overruns": (b"\x04\x00\x00\x00\x00\x07\x00\x00\x00\x09\x01\x03!", Overrun),
    "a PDV without its control header": (b"\x04\x00\x00\x00\x00\x05\x00\x00\x00\x01\x01", Overrun),
}


@pytest.mark.parametrize(("data", "error"), INVALID.values(), ids=INVALID)
def test_reader_refuses(data: bytes, error: type[ProtocolError]) -> None:
    with pytest.raises(error) as caught:
        decode(data)
    assert type(caught.value) is error
    assert caught.value.abort_reason in (
        AbortReason.UNRECOGNIZED_PDU,
        AbortReason.UNEXPECTED_PDU_PARAMETER,
        AbortReason.INVALID_PDU_PARAMETER_VALUE,
    )
    assert str(caught.value).isprintable()


# -- what is not tested, or forgiven -------------------------------------------------------------------------------


def decoded_rq(data: bytes) -> AssociateRQ:
    pdu = decode(data)
    assert isinstance(pdu, AssociateRQ)
    return pdu


def test_reserved_bytes_are_not_tested() -> None:
    for pdu, data in EXAMPLES.values():
        assert decode(data[:1] + b"\xff" + data[2:]) == pdu
    assert decode(rq(APPLICATION_CONTEXT + CONTEXT + USER_INFORMATION)) == decode(
        rq(
            APPLICATION_CONTEXT + CONTEXT.replace(b"\x01\x00\x00\x00", b"\x01\xaa\xbb\xcc") + USER_INFORMATION,
            titles(b"A", b"B")[:36] + b"\xff" * 32,
        )
    )


def test_items_may_come_in_any_order() -> None:
    ordered = decode(rq(APPLICATION_CONTEXT + CONTEXT + USER_INFORMATION))
    assert decode(rq(USER_INFORMATION + CONTEXT + APPLICATION_CONTEXT)) == ordered


def test_padding_of_uids_and_titles_is_dropped() -> None:
    context = item(0x20, b"\x01\x00\x00\x00" + item(0x30, b"1.2\x00") + item(0x40, b"1.3 "))
    pdu = decoded_rq(rq(context + USER_INFORMATION, titles(b"  ARCHIVE", b"CT1".ljust(16, b"\x00"))))
    assert (pdu.called_ae_title, pdu.calling_ae_title) == ("ARCHIVE", "CT1")
    assert pdu.presentation_contexts[0].abstract_syntax == "1.2"
    assert pdu.presentation_contexts[0].transfer_syntaxes == ("1.3",)


def test_hostile_titles_are_kept_as_they_are() -> None:
    pdu = decoded_rq(rq(CONTEXT + USER_INFORMATION, titles(b"\x1b[31m\r\n", b"../../etc")))
    assert (pdu.called_ae_title, pdu.calling_ae_title) == ("\x1b[31m\r\n", "../../etc")


def test_what_a_peer_leaves_out_is_empty() -> None:
    pdu = decoded_rq(rq(item(0x20, b"\x01\x00\x00\x00" + item(0x30, b"1.2")) + item(0x50, b"")))
    assert pdu.application_context == ""
    assert pdu.presentation_contexts[0].transfer_syntaxes == ()
    assert pdu.user_information.maximum_length == 0
    assert pdu.user_information.implementation_class_uid == ""
    assert decode(encode(pdu)) == pdu


def test_unknown_sub_items_are_kept_in_their_order() -> None:
    first, second = item(0x60, b"first"), item(0x5F, b"second")
    pdu = decoded_rq(information(first, item(0x51, bytes(4)), second))
    assert pdu.user_information.unknown == (
        UnknownItem(item_type=0x60, data=b"first"),
        UnknownItem(item_type=0x5F, data=b"second"),
    )


def test_of_another_protocol_version_only_the_titles_are_read() -> None:
    pdu = decoded_rq(rq(b"another layout", b"\x00\x02" + titles(b"A", b"B")[2:]))
    assert (pdu.protocol_version, pdu.called_ae_title, pdu.calling_ae_title) == (2, "A", "B")
    assert pdu.presentation_contexts == ()


def test_a_result_that_is_not_in_the_table_is_no_acceptance() -> None:
    pdu = decode(ac(item(0x21, b"\x01\x00\x63\x00" + item(0x40, b"1.3"))))
    assert isinstance(pdu, AssociateAC)
    assert pdu.presentation_contexts[0].result is ContextResult.NO_REASON


@pytest.mark.parametrize(
    ("source", "reason", "read"),
    [
        (0, 5, Abort()),
        (1, 1, Abort(source=AbortSource.PROVIDER, reason=AbortReason.UNRECOGNIZED_PDU)),
        (2, 3, Abort(source=AbortSource.PROVIDER)),
        (255, 255, Abort(source=AbortSource.PROVIDER)),
    ],
)
def test_reserved_numbers_of_an_abort_are_read_as_the_nearest(source: int, reason: int, read: Abort) -> None:
    assert decode(b"\x07\x00\x00\x00\x00\x04\x00\x00" + bytes((source, reason))) == read


# -- values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pdu",
    [
        AssociateRQ(
            called_ae_title="SEVENTEEN-LETTERS",
            calling_ae_title="B",
            presentation_contexts=(),
            user_information=request().user_information,
        ),
        AssociateRQ(
            called_ae_title="\u65e5\u672c",
            calling_ae_title="B",
            presentation_contexts=(),
            user_information=request().user_information,
        ),
        AssociateRJ(result=1, source=1, reason=256),
        AssociateRQ(
            called_ae_title="A",
            calling_ae_title="B",
            presentation_contexts=(),
            user_information=request().user_information,
            unknown=(UnknownItem(item_type=0x99, data=bytes(65536)),),
        ),
    ],
    ids=["title too long", "title not Latin-1", "number too large", "item too long"],
)
def test_a_value_that_fits_no_field_is_our_error(pdu: PDU) -> None:
    with pytest.raises(LocalError):
        encode(pdu)


def test_a_rejection_says_itself_in_words() -> None:
    limit = AssociateRJ.because(Rejection.LOCAL_LIMIT_EXCEEDED)
    assert (limit.message, limit.transient) == ("rejected for now: local limit exceeded (2,3,2)", True)
    unknown = AssociateRJ.because(Rejection.CALLED_AE_TITLE_NOT_RECOGNIZED)
    assert (unknown.message, unknown.transient) == (
        "rejected: called AE title not recognized (1,1,7)",
        False,
    )
    assert AssociateRJ(result=1, source=3, reason=9).message == "rejected: reserved reason (1,3,9)"


def test_a_password_never_shows() -> None:
    identity = UserIdentity(
        identity_type=2, positive_response_requested=False, primary_field=b"joe", secondary_field=b"secret"
    )
    assert "secret" not in repr(identity)
    assert "joe" not in repr(identity)


def test_a_pdu_of_data_is_a_value_too() -> None:
    assert decode(b"\x04\x00\x00\x00\x00\x00") == PDataTF(pdvs=())
