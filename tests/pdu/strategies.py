"""Any PDU that can be written, for Hypothesis."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from hypothesis import strategies as st

from pdu import (
    PDU,
    PDV,
    Abort,
    AbortReason,
    AbortSource,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    AsynchronousOperationsWindow,
    ContextResult,
    PDataTF,
    PresentationContext,
    PresentationContextResult,
    ReleaseRP,
    ReleaseRQ,
    RoleSelection,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UnknownItem,
    UserIdentity,
    UserIdentityResponse,
    UserInformation,
)

T = TypeVar("T")


def texts(smallest: int, largest: int) -> st.SearchStrategy[str]:
    """Latin-1 without padding at its ends, hostile characters included."""
    characters = st.characters(max_codepoint=255)
    return st.text(characters, min_size=smallest, max_size=largest).filter(lambda s: s == s.strip("\0 "))


real_uids = st.lists(st.integers(0, 99999), max_size=5).map(lambda parts: ".".join(map(str, [1, 2, *parts])))
uids = real_uids | texts(1, 70)
titles = texts(0, 16)
blobs = st.binary(max_size=40)
u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFFFFFF)


def unknown_items(known: set[int]) -> st.SearchStrategy[tuple[UnknownItem, ...]]:
    types = st.integers(0, 255).filter(lambda each: each not in known)
    return tuples(st.builds(UnknownItem, item_type=types, data=blobs), 3)


def tuples(elements: st.SearchStrategy[T], largest: int) -> st.SearchStrategy[tuple[T, ...]]:
    return st.lists(elements, max_size=largest).map(tuple)


def user_informations(
    names: st.SearchStrategy[str] = uids, *, unknown: bool = True
) -> st.SearchStrategy[UserInformation]:
    """User information; `names` are its UIDs, `unknown` whether it has sub-items that nobody knows."""
    return st.builds(
        UserInformation,
        maximum_length=u32,
        implementation_class_uid=names,
        implementation_version_name=st.none() | texts(1, 16),
        asynchronous_operations_window=st.none() | st.builds(AsynchronousOperationsWindow, invoked=u16, performed=u16),
        roles=tuples(st.builds(RoleSelection, sop_class_uid=names), 3),
        extended=tuples(st.builds(SOPClassExtendedNegotiation, sop_class_uid=names, information=blobs), 3),
        common_extended=tuples(
            st.builds(
                SOPClassCommonExtendedNegotiation,
                sop_class_uid=names,
                service_class_uid=names,
                related=tuples(names, 3),
            ),
            3,
        ),
        user_identity=st.none()
        | st.builds(UserIdentity, identity_type=st.integers(0, 255), primary_field=blobs, secondary_field=blobs),
        user_identity_response=st.none() | st.builds(UserIdentityResponse, server_response=blobs),
        unknown=unknown_items(set(range(0x51, 0x5A))) if unknown else st.just(()),
    )


def _with_ids(bodies: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    return [{"id": 2 * n + 1, **body} for n, body in enumerate(bodies)]


proposals = (
    st.lists(
        st.fixed_dictionaries(
            {
                "abstract_syntax": uids,
                "transfer_syntaxes": tuples(uids, 4),
                "unknown": unknown_items({0x30, 0x40}),
            }
        ),
        min_size=1,
        max_size=6,
    )
    .map(_with_ids)
    .map(lambda bodies: tuple(PresentationContext(**body) for body in bodies))  # type: ignore[arg-type]
)

answers = (
    st.lists(
        st.fixed_dictionaries(
            {
                "result": st.sampled_from(ContextResult),
                "transfer_syntax": uids,
                "unknown": unknown_items({0x40}),
            }
        ),
        max_size=6,
    )
    .map(_with_ids)
    .map(lambda bodies: tuple(PresentationContextResult(**body) for body in bodies))  # type: ignore[arg-type]
)

requests = st.builds(
    AssociateRQ,
    called_ae_title=titles,
    calling_ae_title=titles,
    presentation_contexts=proposals,
    user_information=user_informations(),
    application_context=uids,
    protocol_version=u16.map(lambda version: version | 1),
    unknown=unknown_items({0x10, 0x20, 0x50}),
)
accepts = st.builds(
    AssociateAC,
    called_ae_title=titles,
    calling_ae_title=titles,
    presentation_contexts=answers,
    user_information=user_informations(),
    application_context=uids,
    protocol_version=u16,
    unknown=unknown_items({0x10, 0x21, 0x50}),
)
byte = st.integers(0, 255)
pdvs = st.builds(PDV, context_id=byte, data=blobs)
aborts = st.just(Abort()) | st.builds(Abort, source=st.just(AbortSource.PROVIDER), reason=st.sampled_from(AbortReason))
pdus: st.SearchStrategy[PDU] = st.one_of(
    requests,
    accepts,
    st.builds(AssociateRJ, result=byte, source=byte, reason=byte),
    st.builds(PDataTF, pdvs=tuples(pdvs, 5)),
    st.just(ReleaseRQ()),
    st.just(ReleaseRP()),
    aborts,
)
