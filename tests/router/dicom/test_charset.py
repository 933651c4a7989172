"""Text by Specific Character Set, with the examples of PS3.5 annexes H, I, J and K among them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.dicom.charset import decode


@pytest.mark.parametrize(
    ("value", "terms", "text"),
    [
        (b"Buc^J\xe9r\xf4me", "ISO_IR 100", "Buc^Jérôme"),
        (b"\xbb\xee\xdace\xdc\xd1yp\xd3", "ISO_IR 144", "Люкceмбypг"),
        ("王^小東".encode(), "ISO_IR 192", "王^小東"),
        ("王^小东".encode("gb18030"), "GB18030", "王^小东"),
        (b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎"),
        (b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3", "ISO 2022 IR 13\\ISO 2022 IR 87", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
        (b"\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7", "\\ISO 2022 IR 149", "洪^吉洞"),
        (b"\x1b$)A\xcd\xf5", "\\ISO 2022 IR 58", "王"),
        (b"\xfb\xf3^\xd1\xce", "ISO_IR 149", "洪^吉"),
        (b"\xfb\xf3^\xd1\xce", "ISO-IR 149", "洪^吉"),
        (b"\xd4\xcf\xc0\xde", "ISO 2022 IR 14", "ﾔﾏﾀﾞ"),
        (b"\xd4\xcf\xc0\xde", "ISO_IR 14", "ﾔﾏﾀﾞ"),
        (b"\x1b(J\xd4\xcf=\x1b$B;3ED\x1b(J", "ISO 2022 IR 14\\ISO 2022 IR 87", "ﾔﾏ=山田"),
        ("王^小东€".encode("gb18030"), "ISO_IR 1252", "王^小东€"),
        (b"\x1b$AMu\x1b(B^Wang", "ISO_IR 1252", "王^Wang"),
        ("山田^太郎".encode("euc_jp"), "EUC-JP", "山田^太郎"),
        ("ไทย".encode("tis_620"), "TIS-620", "ไทย"),
        ("王".encode(), "ISO 2022 IR 192", "王"),
        (b"\x1b(I14\x1b(B=x", "\\ISO 2022 IR 13", "ｱｴ=x"),
        (b"plain", "ISO_IR 999", "plain"),
        (b"\xe9", "ISO_IR 999", "é"),
        (b"\xe9", "", "é"),
        (b"\xe9", "ISO-IR 100", "é"),
        (b"\xce\xb1", "ISO_IR_192", "α"),
        (b"\xff", "ISO_IR 192", "�"),
        (b"a\x1bZb", "ISO_IR 100", "a\x1bZb"),
        ("ソ\\A".encode("gb18030"), "GB18030", "ソ\\A"),
    ],
)
def test_text_is_decoded_by_its_character_set(value: bytes, terms: str, text: str) -> None:
    assert decode(value, terms, name=True) == text


def test_a_delimiter_ends_an_escaped_character_set() -> None:
    """PS3.5 6.1.2.5.3: after it the initial set holds again. A name has two delimiters more."""
    greek = b"\x1b-F\xc1\\\xc1^\xc1"
    assert decode(greek, "ISO 2022 IR 6\\ISO 2022 IR 126") == "Α\\Á^Á"
    assert decode(b"\x1b-F\xc1^\xc1", "ISO 2022 IR 6\\ISO 2022 IR 126") == "Α^Α"
    assert decode(b"\x1b-F\xc1^\xc1", "ISO 2022 IR 6\\ISO 2022 IR 126", name=True) == "Α^Á"


FRAGMENTS = [b"\x1b$B", b"\x1b$A", b"\x1b(I", b"\x1b(B", b"\x1b$)C", b"\x1b", b"\\", b"\xe9", b";3"]
TERMS = ["", "ISO_IR 192", "ISO_IR 1252", "EUC-JP", "ISO_IR 13", "GBK", "ISO 2022 IR 87"]


@given(
    value=st.lists(st.sampled_from(FRAGMENTS)).map(b"".join) | st.binary(max_size=40),
    terms=st.lists(st.sampled_from(TERMS)).map("\\".join) | st.text(max_size=20),
)
def test_decoding_never_fails(value: bytes, terms: str) -> None:
    decode(value, terms)
