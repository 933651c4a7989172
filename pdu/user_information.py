"""The user information item (PS3.8 Table 9-16): its sub-items, to bytes and back.

Each is laid out in PS3.8 D.1 (maximum length) or PS3.7 D.3.3 (the others). Order does not matter, a sub-item that
may be there once is refused the second time, unknown ones are kept (PS3.8 D.2).
"""

import struct
from collections.abc import Iterator

from pdu.fields import Fields, Parts, counted, item, text, uid, unknown_items
from pdu.items import (
    AsynchronousOperationsWindow,
    RoleSelection,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentity,
    UserIdentityResponse,
    UserInformation,
)

MAXIMUM_LENGTH = 0x51
IMPLEMENTATION_CLASS_UID = 0x52
ASYNCHRONOUS_OPERATIONS_WINDOW = 0x53
ROLE_SELECTION = 0x54
IMPLEMENTATION_VERSION_NAME = 0x55
EXTENDED_NEGOTIATION = 0x56
COMMON_EXTENDED_NEGOTIATION = 0x57
USER_IDENTITY = 0x58
USER_IDENTITY_RESPONSE = 0x59


def encode_user_information(information: UserInformation) -> bytes:
    """The content of the item: its sub-items by ascending type, then the unknown ones."""
    return b"".join(_sub_items(information))


def _sub_items(information: UserInformation) -> Iterator[bytes]:
    yield item(MAXIMUM_LENGTH, struct.pack(">L", information.maximum_length))
    if information.implementation_class_uid:
        yield item(IMPLEMENTATION_CLASS_UID, text(information.implementation_class_uid))
    if window := information.asynchronous_operations_window:
        yield item(ASYNCHRONOUS_OPERATIONS_WINDOW, struct.pack(">HH", window.invoked, window.performed))
    for role in information.roles:
        roles = bytes((role.scu_role, role.scp_role))
        yield item(ROLE_SELECTION, counted(text(role.sop_class_uid)) + roles)
    if information.implementation_version_name is not None:
        yield item(IMPLEMENTATION_VERSION_NAME, text(information.implementation_version_name))
    for extended in information.extended:
        yield item(EXTENDED_NEGOTIATION, counted(text(extended.sop_class_uid)) + extended.information)
    for common in information.common_extended:
        yield _common_extended_bytes(common)
    if information.user_identity:
        yield _user_identity_bytes(information.user_identity)
    if information.user_identity_response:
        yield item(USER_IDENTITY_RESPONSE, counted(information.user_identity_response.server_response))
    yield unknown_items(information.unknown)


def _common_extended_bytes(common: SOPClassCommonExtendedNegotiation) -> bytes:
    names = counted(text(common.sop_class_uid)) + counted(text(common.service_class_uid))
    related = b"".join(counted(text(name)) for name in common.related)
    return item(COMMON_EXTENDED_NEGOTIATION, names + counted(related))


def _user_identity_bytes(identity: UserIdentity) -> bytes:
    kind = struct.pack(">BB", identity.identity_type, identity.positive_response_requested)
    return item(USER_IDENTITY, kind + counted(identity.primary_field) + counted(identity.secondary_field))


def decode_user_information(data: memoryview) -> UserInformation:
    """The item from its content; `ProtocolError` where a sub-item is not laid out as its table says."""
    parts = Parts(data, "user information")
    version_name = parts.one(IMPLEMENTATION_VERSION_NAME)
    return UserInformation(
        maximum_length=_maximum_length(parts.one(MAXIMUM_LENGTH)),
        implementation_class_uid=uid(parts.one(IMPLEMENTATION_CLASS_UID) or b""),
        implementation_version_name=None if version_name is None else uid(version_name),
        asynchronous_operations_window=_window(parts.one(ASYNCHRONOUS_OPERATIONS_WINDOW)),
        roles=tuple(map(_role, parts.all(ROLE_SELECTION))),
        extended=tuple(map(_extended, parts.all(EXTENDED_NEGOTIATION))),
        common_extended=tuple(map(_common_extended, parts.all(COMMON_EXTENDED_NEGOTIATION))),
        user_identity=_user_identity(parts.one(USER_IDENTITY)),
        user_identity_response=_user_identity_response(parts.one(USER_IDENTITY_RESPONSE)),
        unknown=parts.unknown(),
    )


def _maximum_length(data: memoryview | None) -> int:
    """PS3.8 Table D.1-1."""
    if data is None:
        return 0
    fields = Fields(data, "maximum length sub-item")
    length = fields.number(4)
    fields.finish()
    return length


def _window(data: memoryview | None) -> AsynchronousOperationsWindow | None:
    """PS3.7 Table D.3-7."""
    if data is None:
        return None
    fields = Fields(data, "asynchronous operations window sub-item")
    window = AsynchronousOperationsWindow(invoked=fields.number(2), performed=fields.number(2))
    fields.finish()
    return window


def _role(data: memoryview) -> RoleSelection:
    """PS3.7 Table D.3-9. Any number but 0 means that the role is there."""
    fields = Fields(data, "role selection sub-item")
    name = uid(fields.counted())
    role = RoleSelection(sop_class_uid=name, scu_role=bool(fields.number(1)), scp_role=bool(fields.number(1)))
    fields.finish()
    return role


def _extended(data: memoryview) -> SOPClassExtendedNegotiation:
    """PS3.7 Table D.3-11."""
    fields = Fields(data, "SOP class extended negotiation sub-item")
    return SOPClassExtendedNegotiation(sop_class_uid=uid(fields.counted()), information=bytes(fields.rest()))


def _common_extended(data: memoryview) -> SOPClassCommonExtendedNegotiation:
    """PS3.7 Table D.3-12; what follows the related SOP classes is reserved."""
    fields = Fields(data, "SOP class common extended negotiation sub-item")
    name, service = uid(fields.counted()), uid(fields.counted())
    related = Fields(fields.counted(), "list of related general SOP classes")
    names: list[str] = []
    while not related.exhausted:
        names.append(uid(related.counted()))
    return SOPClassCommonExtendedNegotiation(sop_class_uid=name, service_class_uid=service, related=tuple(names))


def _user_identity(data: memoryview | None) -> UserIdentity | None:
    """PS3.7 Table D.3-14."""
    if data is None:
        return None
    fields = Fields(data, "user identity sub-item")
    identity = UserIdentity(
        identity_type=fields.number(1),
        positive_response_requested=bool(fields.number(1)),
        primary_field=bytes(fields.counted()),
        secondary_field=bytes(fields.counted()),
    )
    fields.finish()
    return identity


def _user_identity_response(data: memoryview | None) -> UserIdentityResponse | None:
    """PS3.7 Table D.3-15."""
    if data is None:
        return None
    fields = Fields(data, "user identity response sub-item")
    response = UserIdentityResponse(server_response=bytes(fields.counted()))
    fields.finish()
    return response
