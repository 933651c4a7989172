"""Read tables of TOML into attrs values, and collect every fault instead of stopping at the first.

The annotations of a class say how its keys are read: `One`, `Each` or `Entries` for a key, an attrs class for a table;
an attribute with none of these is not a key. A key that cannot be read keeps its default, so that reading goes on. Not
here: which tables there are, and faults between tables (`load`).
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache, partial
from typing import Any, TypeGuard, TypeVar, get_type_hints

import attrs
from attrs import define, field, frozen

from router.config.patterns import suggestion
from router.config.quantities import shown

T = TypeVar("T", bound=attrs.AttrsInstance)
Table = Mapping[str, Any]
Read = Callable[[object], Any]
"""Return the value of what TOML gave; raise `ValueError` with a message for the author of the file."""


@frozen
class One:
    """Mark of a key that holds one value."""

    read: Read


@frozen
class Each:
    """Mark of a key that holds a list of values, or one value instead of a list of one."""

    read: Read
    gather: Callable[[tuple[Any, ...]], Any] = tuple


@frozen
class Entries:
    """Mark of a table with free keys: each key is read, then its values as in `Each`."""

    read_key: Read
    read_value: Callable[[str, object], Any]
    gather: Callable[[str, Any, tuple[Any, ...]], Any]


@frozen
class Fault:
    """One fault: its place, such as `peers.pacs.address`, and a message that says what is wrong."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ConfigError(Exception):
    """The configuration cannot be used; `faults` are all of its faults."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, self.faults)))


def readable(cls: type[attrs.AttrsInstance]) -> Mapping[str, Any]:
    """Return the keys that a table of this class may have, each with its mark: `One`, `Each`, `Entries` or a class."""
    return _marks(cls)


@cache
def _marks(cls: Any) -> Mapping[str, Any]:
    hints = get_type_hints(cls, include_extras=True)
    marks = {f.name: getattr(hints[f.name], "__metadata__", (hints[f.name],))[0] for f in attrs.fields(cls)}
    return {key: mark for key, mark in marks.items() if isinstance(mark, One | Each | Entries) or attrs.has(mark)}


@define
class TableReader:
    """Reads a document and collects its faults. Methods return a tuple, which is empty if nothing could be read."""

    faults: list[Fault] = field(factory=list)

    def fault(self, path: str, message: str) -> None:
        """Add a fault."""
        self.faults.append(Fault(path, message))

    def table(self, cls: type[T], given: object, path: str, **known: Any) -> tuple[T] | tuple[()]:
        """Read a table as a value of `cls`; nothing if a key without a default is missing or faulty.

        `known` are attributes that do not come from the table, unless it has a key of the same name.
        """
        if not self.is_table(given, path):
            return ()
        self.unknown(given, path, cls)
        return self.value(cls, given, path, **known)

    def value(self, cls: type[T], given: Table, path: str, **known: Any) -> tuple[T] | tuple[()]:
        """As `table`, for a table that other classes read too: the caller looks for unknown keys."""
        values = known | self.keys(readable(cls), given, path)
        wanting = [f.name for f in attrs.fields(cls) if f.default is attrs.NOTHING and f.name not in values]
        for key in wanting:
            if key not in given:
                self.fault(f"{path}.{key}", "is missing")
        return () if wanting else (cls(**values),)

    def keys(self, marks: Mapping[str, Any], given: Table, path: str) -> dict[str, Any]:
        """Return the values of those marked keys that the table has and that can be read."""
        return {
            key: value
            for key, mark in marks.items()
            if key in given
            for value in self.key(mark, given[key], f"{path}.{key}")
        }

    def is_table(self, given: object, path: str) -> TypeGuard[Table]:
        """Return whether TOML gave a table; otherwise add a fault."""
        if not isinstance(given, dict):
            self.fault(path, f"must be a table, not {shown(given)}")
        return isinstance(given, dict)

    def key(self, mark: Any, given: object, path: str) -> tuple[Any, ...]:
        """Read a key as its mark says."""
        match mark:
            case One(read):
                return self.one(read, given, path)
            case Each(read, gather):
                return (gather(self.each(read, given, path)),)
            case Entries():
                return (self.entries(mark, given, path),)
            case _:
                return self.table(mark, given, path)

    def one(self, read: Read, given: object, path: str) -> tuple[Any, ...]:
        """Read one value."""
        try:
            return (read(given),)
        except ValueError as error:
            self.fault(path, str(error))
            return ()

    def each(self, read: Read, given: object, path: str) -> tuple[Any, ...]:
        """Read a list. Entries that cannot be read are left out."""
        if not isinstance(given, list):
            return self.one(read, given, path)
        return tuple(value for index, entry in enumerate(given) for value in self.one(read, entry, f"{path}[{index}]"))

    def entries(self, mark: Entries, given: object, path: str) -> tuple[Any, ...]:
        """Read a table with free keys, in the order of the file."""
        if not isinstance(given, dict):
            self.fault(path, f"must be a table, not {shown(given)}")
            return ()
        found = []
        for key, values in given.items():
            where = f"{path}.{key}"
            if values == []:
                self.fault(where, "is an empty list, which nothing can meet")
            for known in self.one(mark.read_key, key, where):
                read = partial(mark.read_value, key)
                found.append(mark.gather(key, known, self.each(read, values, where)))
        return tuple(found)

    def unknown(
        self, given: Table, path: str, *classes: type[attrs.AttrsInstance], known: Collection[str] = ()
    ) -> None:
        """Add a fault for every key that is neither `known` nor a key of one of the classes.

        `RENAMED` of a class maps former keys to the names that they have now.
        """
        known = [*known, *(key for cls in classes for key in readable(cls))]
        renamed = {old: new for cls in classes for old, new in getattr(cls, "RENAMED", {}).items()}
        for key in given:
            if key not in known:
                now = f": its name is {renamed[key]} now" if key in renamed else suggestion(key, known)
                self.fault(f"{path}.{key}" if path else key, f"there is no such key{now}")
