"""Command sets that are read and written by the places in which they differ mean what the codec says they mean."""

from collections.abc import Sequence
from typing import cast

from attrs import evolve
from hypothesis import example, given
from hypothesis import strategies as st

from pdu import AcceptedContext, Buffer, UpperLayer
from pdu.writer import frame_data
from router.dimse import DATA_SET, Command, CommandField, Priority, decode, encode, response_to
from router.tools.bench import InstanceUIDs, Template, ct_template
from router.tools.bench.client import FramedMessage
from router.tools.bench.command_layout import RequestLayout, ResponseForm, ResponseLayout

REQUEST = Command(
    field=CommandField.C_STORE_RQ,
    message_id=1,
    affected_sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
    affected_sop_instance_uid="2.25.1111",
    priority=Priority.MEDIUM,
    data_set_type=DATA_SET,
)
IDS = st.integers(0, 0xFFFF)
UIDS = st.lists(st.integers(0, 10**9), min_size=1, max_size=5).map(lambda parts: "2." + ".".join(map(str, parts)))


@given(IDS, UIDS)
def test_a_request_of_the_same_layout_is_read_as_the_codec_reads_it(message_id: int, uid: str) -> None:
    request = evolve(REQUEST, message_id=message_id, affected_sop_instance_uid=uid)
    layout = RequestLayout(encode(REQUEST), REQUEST)
    assert layout.read(encode(request)) in ((message_id, uid), None)
    if len(uid) in (9, 10):
        assert layout.read(encode(request)) == (message_id, uid)


def test_a_request_of_another_layout_is_not_read() -> None:
    layout = RequestLayout(encode(REQUEST), REQUEST)
    for change in (
        {"priority": Priority.HIGH},
        {"affected_sop_class_uid": "1.2.840.10008.5.1.4.1.1.4"},
        {"move_originator_ae_title": "MOVER"},
        {"field": CommandField.C_FIND_RQ},
    ):
        assert layout.read(encode(evolve(REQUEST, **change))) is None


@given(IDS, IDS)
def test_a_response_of_the_same_layout_is_read_as_the_codec_reads_it(message_id: int, status: int) -> None:
    layout = ResponseLayout(encode(response_to(REQUEST, 0)))
    response = response_to(evolve(REQUEST, message_id=message_id), status)
    assert layout.read(encode(response)) == (message_id, status)


def test_a_response_with_an_error_comment_is_not_read_by_its_layout() -> None:
    layout = ResponseLayout(encode(response_to(REQUEST, 0)))
    assert layout.read(encode(response_to(REQUEST, 0xA700, error_comment="full"))) is None


@example(message_id=1, status=0x0A10)  # which looks like the beginning of a UID
@given(IDS, IDS)
def test_a_response_that_is_filled_in_is_the_one_that_the_codec_writes(message_id: int, status: int) -> None:
    form = ResponseForm(REQUEST, status)
    request = evolve(REQUEST, message_id=message_id, affected_sop_instance_uid="2.25.2222")
    assert form.fill(message_id, "2.25.2222")
    assert bytes(form.encoded) == encode(response_to(request, status))
    assert not form.fill(message_id, "2.25.22222")


def test_a_framed_message_is_the_request_of_each_object_in_turn() -> None:
    template, uids = ct_template(300_000), InstanceUIDs()
    framed = _frame(template, uids)
    messages = []
    for number, message_id in ((0, 1), (1, 2), (70_000, 0xFFFF)):
        framed.renumber(number, message_id)
        command, data = _unframe(framed.buffers)
        assert decode(command) == evolve(
            REQUEST, message_id=message_id, affected_sop_instance_uid=uids.uid(number, template.uid_length)
        )
        assert data[template.uid_at :][: template.uid_length].decode() == uids.uid(number, template.uid_length)
        messages.append(data[: template.uid_at] + data[template.uid_at + template.uid_length :])
    assert len(messages[0]) == template.length - template.uid_length
    assert messages[0] == messages[1] == messages[2]


class Framing:
    """The engine's framing, for a peer that takes no more than 16 KiB."""

    peer_maximum_length = 16384

    def send_data(self, context_id: int, data: Buffer, *, command: bool, last: bool) -> list[Buffer]:
        return frame_data(context_id, data, command=command, last=last, maximum_length=self.peer_maximum_length)


def _frame(template: Template, uids: InstanceUIDs) -> FramedMessage:
    context = AcceptedContext(id=1, abstract_syntax=template.sop_class_uid, transfer_syntax=template.transfer_syntax)
    return FramedMessage(template, context, cast("UpperLayer", Framing()), uids)


def _unframe(buffers: Sequence[Buffer]) -> tuple[bytes, bytes]:
    """The command set and the data set; each PDU has one PDV, and only the last of each says so (PS3.8 E.2)."""
    command, data = b"", b""
    headers, bodies = buffers[::2], buffers[1::2]
    for header, body in zip(headers, bodies, strict=True):
        assert len(body) + 6 <= 16384
        if header[-1] & 1:
            command += bytes(body)
        else:
            data += bytes(body)
    assert [header[-1] for header in headers] == [3] + [0] * (len(headers) - 2) + [2]
    return command, data
