"""A C-STORE request that is framed once for an association, and sent any number of times.

Its Message ID and its UID are written over in place, and the buffers are handed to the kernel, which has copied them
when the write is done; so one set of buffers serves any number of outstanding requests.
"""

import struct
from typing import Final

from pdu import AcceptedContext, Buffer, UpperLayer
from router.dimse import DATA_SET, Command, CommandField, Priority, encode
from router.tools.bench.command_layout import header
from router.tools.bench.objects import PIECE, Template
from router.tools.bench.uids import Uids

_MESSAGE_ID: Final = header(0x0110, 2)
_UNLIMITED: Final = 1 << 20
"""Bytes of a P-DATA-TF's variable field for a peer that names no limit."""


class FramedMessage:
    """The C-STORE request of one template, ready to be written again and again."""

    def __init__(self, template: Template, context: AcceptedContext, upper_layer: UpperLayer, uids: Uids) -> None:
        self._uids, self._template = uids, template
        uid = uids.of(0, template.uid_length)
        self._command = bytearray(encode(_request(template, uid)))
        self._message_id_at = self._command.index(_MESSAGE_ID) + len(_MESSAGE_ID)
        self._uid_at = self._command.index(uid.encode())
        room = ((upper_layer.peer_maximum_length or _UNLIMITED) - 6) & ~1
        edge = min(max(room, template.uid_at + template.uid_length), template.length)
        self._begin = bytearray(template.content.piece(0, edge))
        frame = upper_layer.send_data
        self.buffers: list[Buffer] = frame(context.id, self._command, command=True, last=True)
        self.buffers += frame(context.id, self._begin, command=False, last=edge == template.length)
        step = min(room, PIECE)
        for offset in range(edge, template.length, step):
            piece = template.content.piece(offset, min(step, template.length - offset))
            self.buffers += frame(context.id, piece, command=False, last=offset + step >= template.length)

    def number(self, number: int, message_id: int) -> None:
        """Make it object `number` of the run."""
        uid = self._uids.of(number, self._template.uid_length).encode()
        self._command[self._uid_at : self._uid_at + len(uid)] = uid
        self._begin[self._template.uid_at : self._template.uid_at + len(uid)] = uid
        struct.pack_into("<H", self._command, self._message_id_at, message_id)


def _request(template: Template, uid: str) -> Command:
    return Command(
        field=CommandField.C_STORE_RQ,
        message_id=1,
        affected_sop_class_uid=template.sop_class_uid,
        affected_sop_instance_uid=uid,
        priority=Priority.MEDIUM,
        data_set_type=DATA_SET,
    )
