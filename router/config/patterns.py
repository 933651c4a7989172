"""Patterns that are matched against what arrives: globs, networks, and UIDs by value or by name.

In a glob `*` is any run of characters, `?` is one character, `[...]` one of those in brackets; case matters, as in AE
titles; outer spaces of the text are ignored. Matching never raises and takes time in proportion to the text, whatever a
peer sends. The readers at the end return one pattern from what TOML gave, or raise `ValueError` with a message for the
author of the file. Not here: which facts are matched (`router.routing`).
"""

import fnmatch
import re
from collections.abc import Iterable
from difflib import get_close_matches
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from attrs import field, frozen

from router.config.identifiers import text, uid
from router.config.quantities import shown
from router.dicom.uids import Kind, registered, uids_by_name

NOTHING = "(?!)"
"""A regular expression that matches no text."""


@frozen
class Globs:
    """Globs, any of which may match."""

    patterns: tuple[str, ...]
    _expression: re.Pattern[str] = field(init=False, repr=False, eq=False)

    @_expression.default
    def _compile(self) -> re.Pattern[str]:
        return re.compile("|".join(map(fnmatch.translate, self.patterns)) or NOTHING)

    def matches(self, text: str) -> bool:
        """Return True if any of the patterns fits the text without its padding."""
        return "*" in self.patterns or self._expression.match(text.strip(" \0")) is not None


@frozen
class Networks:
    """IP networks, any of which may hold an address. An IPv4 address mapped into IPv6 counts as IPv4."""

    networks: tuple[IPv4Network | IPv6Network, ...]

    def matches(self, address: str) -> bool:
        """Return True if any of the networks holds the address."""
        peer = parse_address(address)
        return peer is not None and any(peer in network for network in self.networks)


@frozen
class UIDs:
    """Patterns, any of which may match a UID, or the keyword or name that PS3.6 gives it."""

    kind: Kind
    patterns: tuple[str, ...]
    _registered: frozenset[str] = field(init=False, repr=False, eq=False)
    _globs: Globs = field(init=False, repr=False, eq=False)

    @_registered.default
    def _find(self) -> frozenset[str]:
        exact = {found for pattern in self.patterns if (found := uids_by_name(self.kind).get(pattern.casefold()))}
        by_name = Globs(self.patterns)
        return frozenset(
            exact | {uid for uid, names in registered(self.kind).items() if any(map(by_name.matches, names))}
        )

    @_globs.default
    def _compile(self) -> Globs:
        return Globs(self.patterns)

    def matches(self, uid: str) -> bool:
        """Return True if any of the patterns fits the UID, its keyword or its name."""
        return uid in self._registered or self._globs.matches(uid)


def parse_address(address: str) -> IPv4Address | IPv6Address | None:
    """Return the IP address that a socket reported, without scope or mapping; None if it is not an IP address."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return parsed.ipv4_mapped or parsed if isinstance(parsed, IPv6Address) else parsed


def glob(value: object) -> str:
    """Read a glob that can match something."""
    if not text(value).strip(" "):
        raise ValueError('is empty and would match nothing; "*" matches everything')
    return text(value).strip(" ")


def network(value: object) -> IPv4Network | IPv6Network:
    """Read a network such as "10.1.0.0/16" or "fd00::/8", or a single address."""
    try:
        return ip_network(text(value).strip(), strict=False)
    except ValueError:
        raise ValueError(
            f'must be a network like "10.1.0.0/16" or "fd00::/8", or an IP address, not {shown(value)}'
        ) from None


def sop_class(value: object) -> str:
    """Read a pattern for SOP classes: "1.2.840.10008.5.1.4.1.1.2", "CTImageStorage", "*Storage", "1.2.840.113619.*"."""
    return _uid_pattern(value, Kind.SOP_CLASS)


def transfer_syntax(value: object) -> str:
    """Read a pattern for transfer syntaxes: "1.2.840.10008.1.2.4.*", "JPEG2000Lossless", "JPEG*"."""
    return _uid_pattern(value, Kind.TRANSFER_SYNTAX)


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean ...?", or an empty text if no known word is similar."""
    near = get_close_matches(word, list(known), n=1, cutoff=0.7)
    return f"; did you mean {shown(near[0])}?" if near else ""


def sop_classes(patterns: tuple[str, ...]) -> UIDs:
    """Return the patterns as one pattern for SOP Class UIDs."""
    return UIDs(Kind.SOP_CLASS, patterns)


def transfer_syntaxes(patterns: tuple[str, ...]) -> UIDs:
    """Return the patterns as one pattern for Transfer Syntax UIDs."""
    return UIDs(Kind.TRANSFER_SYNTAX, patterns)


def ranked_transfer_syntaxes(patterns: tuple[str, ...]) -> tuple[UIDs, ...]:
    """Return one pattern for each of the texts, in their order."""
    return tuple(transfer_syntaxes((pattern,)) for pattern in patterns)


def _uid_pattern(value: object, kind: Kind) -> str:
    pattern = glob(value)
    if pattern.casefold() in uids_by_name(kind) or any(sign in pattern for sign in "*?["):
        return pattern
    if not pattern[0].isdigit():
        keywords = (keyword for _, keyword in registered(kind).values())
        raise ValueError(f"{shown(value)} is not a {kind.value} known by name{suggestion(pattern, keywords)}")
    return uid(pattern)
