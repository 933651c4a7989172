"""The user information item (PS3.8 Table 9-16): its sub-items, to bytes and back.

PS3.8 D.1 has the layout of the maximum length, PS3.7 D.3.3 that of the others. Their order does not matter, a repeated
sub-item that may occur once is refused, unknown ones are kept (PS3.8 D.2).
"""

import struct
from collections.abc import Iterator

from pdu.fields import Fields, Parts, counted, item, text, uid, unknown_items
from pdu.items import (
    AsynchronousOperationsWindow,
    ItemType,
    RoleSelection,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentity,
    UserIdentityResponse,
    UserInformation,
)


def encode_user_information(information: UserInformation) -> bytes:
    """Encode the content of the item: its sub-items by ascending type, then the unknown ones."""
    return b"".join(_sub_items(information))


def _sub_items(information: UserInformation) -> Iterator[bytes]:
    yield item(ItemType.MAXIMUM_LENGTH, struct.pack(">L", information.maximum_length))
    if information.implementation_class_uid:
        yield item(ItemType.IMPLEMENTATION_CLASS_UID, text(information.implementation_class_uid))
    if window := information.asynchronous_operations_window:
        yield item(ItemType.ASYNCHRONOUS_OPERATIONS_WINDOW, struct.pack(">HH", window.invoked, window.performed))
    for role in information.roles:
        roles = bytes((role.scu_role, role.scp_role))
        yield item(ItemType.ROLE_SELECTION, counted(text(role.sop_class_uid)) + roles)
    if information.implementation_version_name is not None:
        yield item(ItemType.IMPLEMENTATION_VERSION_NAME, text(information.implementation_version_name))
    for extended in information.extended:
        yield item(ItemType.EXTENDED_NEGOTIATION, counted(text(extended.sop_class_uid)) + extended.information)
    for common in information.common_extended:
        yield _common_extended_bytes(common)
    if information.user_identity:
        yield _user_identity_bytes(information.user_identity)
    if information.user_identity_response:
        yield item(ItemType.USER_IDENTITY_RESPONSE, counted(information.user_identity_response.server_response))
    yield unknown_items(information.unknown)


def _common_extended_bytes(common: SOPClassCommonExtendedNegotiation) -> bytes:
    names = counted(text(common.sop_class_uid)) + counted(text(common.service_class_uid))
    related = b"".join(counted(text(name)) for name in common.related)
    return item(ItemType.COMMON_EXTENDED_NEGOTIATION, names + counted(related))


def _user_identity_bytes(identity: UserIdentity) -> bytes:
    kind = struct.pack(">BB", identity.identity_type, identity.positive_response_requested)
    return item(ItemType.USER_IDENTITY, kind + counted(identity.primary_field) + counted(identity.secondary_field))


def decode_user_information(data: memoryview) -> UserInformation:
    """Decode the content of the item.

    Raises:
        ProtocolError: a sub-item does not have the layout of its table.
    """
    parts = Parts(data, "user information")
    version_name = parts.one(ItemType.IMPLEMENTATION_VERSION_NAME)
    return UserInformation(
        maximum_length=_maximum_length(parts.one(ItemType.MAXIMUM_LENGTH)),
        implementation_class_uid=uid(parts.one(ItemType.IMPLEMENTATION_CLASS_UID) or b""),
        implementation_version_name=None if version_name is None else uid(version_name),
        asynchronous_operations_window=_window(parts.one(ItemType.ASYNCHRONOUS_OPERATIONS_WINDOW)),
        roles=tuple(map(_role, parts.all(ItemType.ROLE_SELECTION))),
        extended=tuple(map(_extended, parts.all(ItemType.EXTENDED_NEGOTIATION))),
        common_extended=tuple(map(_common_extended, parts.all(ItemType.COMMON_EXTENDED_NEGOTIATION))),
        user_identity=_user_identity(parts.one(ItemType.USER_IDENTITY)),
        user_identity_response=_user_identity_response(parts.one(ItemType.USER_IDENTITY_RESPONSE)),
        unknown=parts.unknown(),
    )


def _maximum_length(data: memoryview | None) -> int:
    """Decode PS3.8 Table D.1-1."""
    if data is None:
        return 0
    fields = Fields(data, "maximum length sub-item")
    length = fields.number(4)
    fields.finish()
    return length


def _window(data: memoryview | None) -> AsynchronousOperationsWindow | None:
    """Decode PS3.7 Table D.3-7."""
    if data is None:
        return None
    fields = Fields(data, "asynchronous operations window sub-item")
    window = AsynchronousOperationsWindow(invoked=fields.number(2), performed=fields.number(2))
    fields.finish()
    return window


def _role(data: memoryview) -> RoleSelection:
    """Decode PS3.7 Table D.3-9. Any number but 0 supports the role."""
    fields = Fields(data, "role selection sub-item")
    name = uid(fields.counted())
    role = RoleSelection(sop_class_uid=name, scu_role=bool(fields.number(1)), scp_role=bool(fields.number(1)))
    fields.finish()
    return role


def _extended(data: memoryview) -> SOPClassExtendedNegotiation:
    """Decode PS3.7 Table D.3-11."""
    fields = Fields(data, "SOP class extended negotiation sub-item")
    return SOPClassExtendedNegotiation(sop_class_uid=uid(fields.counted()), information=bytes(fields.rest()))


def _common_extended(data: memoryview) -> SOPClassCommonExtendedNegotiation:
    """Decode PS3.7 Table D.3-12; the bytes after the related SOP classes are reserved."""
    fields = Fields(data, "SOP class common extended negotiation sub-item")
    name, service = uid(fields.counted()), uid(fields.counted())
    related = Fields(fields.counted(), "list of related general SOP classes")
    names: list[str] = []
    while not related.exhausted:
        names.append(uid(related.counted()))
    return SOPClassCommonExtendedNegotiation(sop_class_uid=name, service_class_uid=service, related=tuple(names))


def _user_identity(data: memoryview | None) -> UserIdentity | None:
    """Decode PS3.7 Table D.3-14."""
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
    """Decode PS3.7 Table D.3-15."""
    if data is None:
        return None
    fields = Fields(data, "user identity response sub-item")
    response = UserIdentityResponse(server_response=bytes(fields.counted()))
    fields.finish()
    return response
