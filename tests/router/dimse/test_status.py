import pytest

from router.dimse import StatusClass, describe, status_class


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (0x0000, StatusClass.SUCCESS),
        (0x0001, StatusClass.WARNING),
        (0x0107, StatusClass.WARNING),
        (0x0116, StatusClass.WARNING),
        (0xB000, StatusClass.WARNING),
        (0xB007, StatusClass.WARNING),
        (0xBFFF, StatusClass.WARNING),
        (0xFE00, StatusClass.CANCEL),
        (0xFF00, StatusClass.PENDING),
        (0xFF01, StatusClass.PENDING),
        (0x0110, StatusClass.FAILURE),
        (0x0122, StatusClass.FAILURE),
        (0xA700, StatusClass.FAILURE),
        (0xC123, StatusClass.FAILURE),
        (0xFFFF, StatusClass.FAILURE),
    ],
)
def test_every_status_has_its_class(status: int, expected: StatusClass) -> None:
    assert status_class(status) is expected


@pytest.mark.parametrize(
    ("status", "service", "words"),
    [
        (0xA712, "storage", "A712H refused: out of resources"),
        (0xA9FF, "storage", "A9FFH error: data set does not match SOP class"),
        (0xC123, "storage", "C123H error: cannot understand"),
        (0xA801, "retrieve", "A801H refused: move destination unknown"),
        (0x0122, "storage", "0122H sop class not supported"),
        (0x0000, "verification", "0000H success"),
        (0xD000, "storage", "D000H failure"),
    ],
)
def test_a_status_is_described_in_the_words_of_its_service(status: int, service: str, words: str) -> None:
    assert describe(status, service) == words
