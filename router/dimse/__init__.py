"""PS3.7: command sets, message assembly, status codes. Pure functions and values; no trio, no sockets."""

from router.dimse.assembly import AssemblyError, DataSetPiece, MessageAssembler, MessageBegin
from router.dimse.command import (
    DATA_SET,
    NO_DATA_SET,
    RESPONSE,
    Command,
    CommandField,
    InvalidCommandSet,
    Priority,
    command_name,
    decode,
    response_to,
)
from router.dimse.layout import LayoutDecoder, encode
from router.dimse.response import Response
from router.dimse.status import Status, StatusClass, describe, status_class

__all__ = [
    "DATA_SET",
    "NO_DATA_SET",
    "RESPONSE",
    "AssemblyError",
    "Command",
    "CommandField",
    "DataSetPiece",
    "InvalidCommandSet",
    "LayoutDecoder",
    "MessageAssembler",
    "MessageBegin",
    "Priority",
    "Response",
    "Status",
    "StatusClass",
    "command_name",
    "decode",
    "describe",
    "encode",
    "response_to",
    "status_class",
]
