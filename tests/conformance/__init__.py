"""The storage tables of five conformance statements, as data: which SOP class each takes in which transfer syntaxes.

The documents are known by their numbers, 000 to 004, and hold facts only: UIDs under the keywords of PS3.6. UIDs that
are misprinted in a statement stand corrected; the misprint is in a comment beside it and under `misprints`. Document
000 takes any SOP class, so it names none.
"""

import tomllib
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen


@frozen(kw_only=True)
class Pair:
    """One row of a presentation context table, spread out: one SOP class in one transfer syntax."""

    sop_class: str
    transfer_syntax: str
    stored: bool = True
    """False where the service is not storage: the context is accepted, no C-STORE goes over it."""


@frozen(kw_only=True)
class Document:
    number: str
    any_sop_class: bool
    transfer_syntaxes: dict[str, str]
    """UID by keyword, in the order of the table."""
    sop_classes: dict[str, str]
    """UID by keyword."""
    pairs: tuple[Pair, ...]
    misprints: dict[str, str]
    """The keyword that was meant, by the UID that was printed."""


def documents() -> list[Document]:
    return [_read(path) for path in sorted(Path(__file__).parent.glob("[0-9]*.toml"))]


def _read(path: Path) -> Document:
    content = tomllib.loads(path.read_text("utf-8"))
    groups = content.get("groups", [])
    return Document(
        number=path.stem,
        any_sop_class=content.get("any_sop_class", False),
        transfer_syntaxes=content["transfer_syntaxes"],
        sop_classes={keyword: uid for group in groups for keyword, uid in group["sop_classes"].items()},
        pairs=tuple(_pairs(groups, content["transfer_syntaxes"])),
        misprints=content.get("misprints", {}),
    )


def _pairs(groups: list[dict], transfer_syntaxes: dict[str, str]) -> Iterator[Pair]:
    for group in groups:
        for sop_class in group["sop_classes"].values():
            for keyword in group["transfer_syntaxes"]:
                yield Pair(
                    sop_class=sop_class,
                    transfer_syntax=transfer_syntaxes[keyword],
                    stored=group.get("stored", True),
                )
