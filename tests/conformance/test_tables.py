"""The transcribed tables agree with the standard's own registry of UIDs (PS3.6 annex A)."""

import pytest
from pydicom.uid import UID

from tests.conformance import Document, documents

DOCUMENTS = documents()
PAIRS = {"000": 0, "001": 327, "002": 685, "003": 466, "004": 174}


@pytest.fixture(params=DOCUMENTS, ids=lambda document: document.number)
def document(request: pytest.FixtureRequest) -> Document:
    return request.param


def test_the_five_documents_are_there() -> None:
    assert [document.number for document in DOCUMENTS] == ["000", "001", "002", "003", "004"]


def test_every_uid_is_the_one_its_keyword_has_in_the_registry(document: Document) -> None:
    for keyword, uid in {**document.sop_classes, **document.transfer_syntaxes}.items():
        assert UID(uid).keyword == keyword
    for keyword, uid in document.transfer_syntaxes.items():
        assert UID(uid).is_transfer_syntax, keyword


def test_every_transfer_syntax_of_a_document_is_proposed_with_some_sop_class(document: Document) -> None:
    if not document.any_sop_class:
        proposed = {pair.transfer_syntax for pair in document.pairs}
        assert proposed == set(document.transfer_syntaxes.values())


def test_no_pair_is_listed_twice(document: Document) -> None:
    assert len(set(document.pairs)) == len(document.pairs) == PAIRS[document.number]


def test_a_misprinted_uid_is_in_no_table_and_in_no_registry(document: Document) -> None:
    for printed, keyword in document.misprints.items():
        assert printed not in {*document.sop_classes.values(), *document.transfer_syntaxes.values()}
        assert UID(printed).name == printed
        assert keyword in {**document.sop_classes, **document.transfer_syntaxes}
