"""pynetdicom's encoder and decoder as a second opinion on the A-ASSOCIATE PDUs: their bytes are our bytes.

Only what it can hold: well-formed UIDs, ASCII titles, no unknown items, a transfer syntax in every answer.
"""

from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom import pdu as theirs

from pdu import (
    AssociateAC,
    AssociateRQ,
    ContextResult,
    PresentationContext,
    PresentationContextResult,
    UserInformation,
    decode,
    encode,
)
from tests.pdu.strategies import real_uids, tuples, user_informations

titles = st.from_regex(r"[A-Z][A-Z0-9_]{0,15}", fullmatch=True)
ids = st.lists(st.integers(0, 127).map(lambda n: 2 * n + 1), min_size=1, max_size=5, unique=True)


def held(information: UserInformation) -> UserInformation:
    """Cut to what it can hold: a printable version name, a primary field that is not empty."""
    identity = information.user_identity
    return evolve(
        information,
        implementation_version_name="ROUTER_1",
        user_identity=identity and evolve(identity, primary_field=b"joe" + identity.primary_field),
    )


informations = user_informations(real_uids, unknown=False).map(held)
transfer_syntaxes = st.lists(real_uids, min_size=1, max_size=4, unique=True).map(tuple)
proposals = tuples(st.tuples(real_uids, transfer_syntaxes), 5)
answers = tuples(st.tuples(st.sampled_from(ContextResult), real_uids), 5)


@given(titles, titles, ids, proposals, informations)
def test_a_request_is_the_same_to_both(
    called: str,
    calling: str,
    context_ids: list[int],
    proposed: tuple[tuple[str, tuple[str, ...]], ...],
    information: UserInformation,
) -> None:
    contexts = tuple(
        PresentationContext(id=id_, abstract_syntax=abstract, transfer_syntaxes=syntaxes)
        for id_, (abstract, syntaxes) in zip(context_ids, proposed, strict=False)
    )
    rq = AssociateRQ(
        called_ae_title=called,
        calling_ae_title=calling,
        presentation_contexts=contexts
        or (PresentationContext(id=1, abstract_syntax="1.2", transfer_syntaxes=("1.3",)),),
        user_information=evolve(information, user_identity_response=None),
    )
    other: Any = theirs.A_ASSOCIATE_RQ()
    other.decode(encode(rq))
    assert (other.called_ae_title.strip(), other.calling_ae_title.strip()) == (called, calling)
    assert [
        (each.context_id, each.abstract_syntax, tuple(each.transfer_syntax)) for each in other.presentation_context
    ] == [(each.id, each.abstract_syntax, each.transfer_syntaxes) for each in rq.presentation_contexts]
    assert other.user_information.maximum_length == information.maximum_length
    assert other.encode() == encode(rq)
    assert decode(other.encode()) == rq


@given(ids, answers, informations)
def test_an_answer_is_the_same_to_both(
    context_ids: list[int],
    answered: tuple[tuple[ContextResult, str], ...],
    information: UserInformation,
) -> None:
    ac = AssociateAC(
        called_ae_title="ARCHIVE",
        calling_ae_title="CT1",
        presentation_contexts=tuple(
            PresentationContextResult(id=id_, result=result, transfer_syntax=syntax)
            for id_, (result, syntax) in zip(context_ids, answered, strict=False)
        ),
        user_information=evolve(information, user_identity=None, common_extended=()),
    )
    other: Any = theirs.A_ASSOCIATE_AC()
    other.decode(encode(ac))
    assert [(each.context_id, each.result_reason) for each in other.presentation_context] == [
        (each.id, each.result) for each in ac.presentation_contexts
    ]
    assert other.encode() == encode(ac)
    assert decode(other.encode()) == ac
