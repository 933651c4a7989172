"""Words of a command line as the identifier of a query, and answers as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.dicom.information_models import MODELS, InformationModel
from router.services.query.identifier import decode_identifier, encode_identifier
from router.tools.query.answers import text_at, values_of
from router.tools.query.keys import InvalidKey, build_identifier, parse_keys, with_return_keys

NAMES = ["PatientID", "PatientName", "StudyDate", "Rows", "(0010,0040)", "0008,0061", "ModalitiesInStudy", "Nonsense"]
NAMES += ["ScheduledProcedureStepSequence.Modality", "ScheduledProcedureStepSequence[0].ScheduledStationAETitle"]
NAMES += ["ScheduledProcedureStepSequence", "SpecificCharacterSet", "PatientID.Modality", "(0009,1010)", "", "."]
WORDS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(NAMES), st.text(max_size=12)).map("=".join),
        st.sampled_from(NAMES),
        st.text(max_size=30),
    ),
    max_size=6,
)


@given(WORDS, st.sampled_from(list(MODELS.values())), st.integers(0, 3))
def test_any_words_are_an_identifier_or_are_refused(words: list[str], model: InformationModel, level: int) -> None:
    asked = model.levels[level % len(model.levels)] if model.levels else ""
    try:
        identifier = build_identifier(with_return_keys(parse_keys(words), model, asked), asked)
    except InvalidKey:
        return
    for syntax in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1"):
        decoded = decode_identifier(encode_identifier(identifier, syntax), syntax)
        assert set(decoded) == set(identifier)
        values_of(decoded)


NAME_TEXT = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x2FFF, exclude_categories=["C"]), max_size=20)


@given(NAME_TEXT.filter(lambda text: "\\" not in text and "=" not in text))
def test_a_name_in_any_script_comes_back_as_it_was_given(name: str) -> None:
    keys = parse_keys([f"PatientName={name}", "ScheduledProcedureStepSequence.Modality=MR"])
    encoded = encode_identifier(build_identifier(keys, ""), "1.2.840.10008.1.2.1")
    decoded = decode_identifier(encoded, "1.2.840.10008.1.2.1")
    assert text_at(decoded, (0x00100010,)) == name
    assert text_at(decoded, (0x00400100, 0x00080060)) == "MR"
    assert values_of(decoded)["ScheduledProcedureStepSequence"] == [{"Modality": "MR"}]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["PatientIdentifier=1"], "expected a DICOM keyword"),
        (["PatientID=1", "(0010,0020)=2"], "given twice"),
        (["Rows=many"], "invalid value"),
        (["AccessionNumber=Ü", "SpecificCharacterSet=ISO_IR 13"], "invalid value"),
        (["ScheduledProcedureStepSequence", "ScheduledProcedureStepSequence.Modality"], "together with the sequence"),
        (["(0000,0002)=1"], "cannot be in an identifier"),
    ],
)
def test_what_is_wrong_with_a_key_is_told(words: list[str], reason: str) -> None:
    with pytest.raises(InvalidKey, match=reason):
        build_identifier(parse_keys(words), "STUDY")
