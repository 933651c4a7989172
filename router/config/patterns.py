"""Patterns that are matched against what arrives: globs, networks, and UIDs by value or by name.

In a glob `*` is any run of characters, `?` is one, `[...]` one of a few; capital and small letters differ, as they
do in AE titles; spaces around the text never count. Matching never raises, whatever a peer sent, and takes time in
proportion to the text. The readers at the end turn what stands in the file into one pattern, or raise `ValueError`
with words. Not here: which facts are matched (`router.routing`).
"""

import fnmatch
import re
from collections.abc import Iterable
from difflib import get_close_matches
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from attrs import field, frozen
from pydicom._uid_dict import UID_dictionary

from router.config.identifiers import text, uid
from router.config.quantities import shown
from router.dicom.uids import Kind, _registry

NOTHING = "(?!)"
"""The regular expression that matches no text."""


@frozen
class Globs:
    """A text matches if any of the patterns does."""

    patterns: tuple[str, ...]
    _expression: re.Pattern[str] = field(init=False, repr=False, eq=False)

    @_expression.default
    def _compile(self) -> re.Pattern[str]:
        return re.compile("|".join(map(fnmatch.translate, self.patterns)) or NOTHING)

    def matches(self, text: str) -> bool:
        return "*" in self.patterns or self._expression.match(text.strip(" \0")) is not None


@frozen
class Networks:
    """An IP address matches if it is in any of the networks; an IPv4 address mapped into IPv6 counts as IPv4."""

    networks: tuple[IPv4Network | IPv6Network, ...]

    def matches(self, address: str) -> bool:
        peer = parse_address(address)
        return peer is not None and any(peer in network for network in self.networks)


@frozen
class UIDs:
    """A UID matches if any of the patterns fits the UID itself, or the keyword or name that PS3.6 gives it."""

    kind: Kind
    patterns: tuple[str, ...]
    _registered: frozenset[str] = field(init=False, repr=False, eq=False)
    _globs: Globs = field(init=False, repr=False, eq=False)

    @_registered.default
    def _find(self) -> frozenset[str]:
        exact = {found for pattern in self.patterns if (found := _registry(self.kind).get(pattern.casefold()))}
        by_name = Globs(self.patterns)
        names = ((uid, UID_dictionary[uid]) for uid in _registry(self.kind).values())
        return frozenset(
            exact | {uid for uid, (name, *_, keyword) in names if by_name.matches(name) or by_name.matches(keyword)}
        )

    @_globs.default
    def _compile(self) -> Globs:
        return Globs(self.patterns)

    def matches(self, uid: str) -> bool:
        return uid in self._registered or self._globs.matches(uid)


def parse_address(address: str) -> IPv4Address | IPv6Address | None:
    """The IP address that a socket named, without scope or mapping; None if it is none."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return parsed.ipv4_mapped or parsed if isinstance(parsed, IPv6Address) else parsed


def glob(value: object) -> str:
    """A pattern with `*`, `?` and `[...]`, that can match something."""
    if not text(value).strip(" "):
        raise ValueError('is empty and would match nothing; "*" matches everything')
    return text(value).strip(" ")


def network(value: object) -> IPv4Network | IPv6Network:
    """A network such as "10.1.0.0/16" or "fd00::/8", or a single address."""
    try:
        return ip_network(text(value).strip(), strict=False)
    except ValueError:
        raise ValueError(
            f'must be a network like "10.1.0.0/16" or "fd00::/8", or an IP address, not {shown(value)}'
        ) from None


def sop_class(value: object) -> str:
    """A pattern for SOP classes: "1.2.840.10008.5.1.4.1.1.2", "CTImageStorage", "*Storage", "1.2.840.113619.*"."""
    return _uid_pattern(value, Kind.SOP_CLASS)


def transfer_syntax(value: object) -> str:
    """A pattern for transfer syntaxes: "1.2.840.10008.1.2.4.*", "JPEG2000Lossless", "JPEG*"."""
    return _uid_pattern(value, Kind.TRANSFER_SYNTAX)


def suggestion(word: str, known: Iterable[str]) -> str:
    """ "; did you mean ...?", or nothing if no known word is near."""
    near = get_close_matches(word, list(known), n=1, cutoff=0.7)
    return f"; did you mean {shown(near[0])}?" if near else ""


def sop_classes(patterns: tuple[str, ...]) -> UIDs:
    return UIDs(Kind.SOP_CLASS, patterns)


def transfer_syntaxes(patterns: tuple[str, ...]) -> UIDs:
    return UIDs(Kind.TRANSFER_SYNTAX, patterns)


def ranked_transfer_syntaxes(patterns: tuple[str, ...]) -> tuple[UIDs, ...]:
    """Return what each pattern matches, in the order of the patterns."""
    return tuple(transfer_syntaxes((pattern,)) for pattern in patterns)


def _uid_pattern(value: object, kind: Kind) -> str:
    pattern = glob(value)
    if pattern.casefold() in _registry(kind) or any(sign in pattern for sign in "*?["):
        return pattern
    if not pattern[0].isdigit():
        keywords = (UID_dictionary[known][4] for known in _registry(kind).values())
        raise ValueError(f"{shown(value)} is no {kind.value} that is known by name{suggestion(pattern, keywords)}")
    return uid(pattern)
