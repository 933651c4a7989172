"""Tables of TOML into attrs values, collecting every fault on the way instead of stopping at the first.

A class is read by its annotations: `One`, `Each` and `Entries` say how a key is read, an attrs class stands for a
table of its own, and an attribute with none of them is not the file's to set. A key that cannot be read stays at its
default, so that the walk goes on. Not here: which tables there are, and what they have to do with each other (`load`).
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
"""From what TOML gave to the value; `ValueError` with words for the person who wrote the file."""


@frozen
class One:
    """Marks a key that holds one value."""

    read: Read


@frozen
class Each:
    """Marks a key that holds a list of values, or one value that stands for a list of one."""

    read: Read
    gather: Callable[[tuple[Any, ...]], Any] = tuple


@frozen
class Entries:
    """Marks a table of which the keys are free: each key is read, then its values as in `Each`."""

    read_key: Read
    read_value: Callable[[str, object], Any]
    gather: Callable[[str, Any, tuple[Any, ...]], Any]


@frozen
class Fault:
    """One thing to mend: where it stands, such as `peers.pacs.address`, and what is wrong, in words."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ConfigError(Exception):
    """The configuration cannot be used; `faults` says everything that is wrong with it."""

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
class Reading:
    """One walk through a document, and the faults it met so far. What could not be read is an empty tuple."""

    faults: list[Fault] = field(factory=list)

    def fault(self, path: str, message: str) -> None:
        self.faults.append(Fault(path, message))

    def table(self, cls: type[T], given: object, path: str, **known: Any) -> tuple[T] | tuple[()]:
        """A table as a value of `cls`; empty where a key without a default is missing or faulty.

        `known` are attributes that come from elsewhere; a key of the same name in the table overrules them.
        """
        if not self.is_table(given, path):
            return ()
        self.unknown(given, path, cls)
        return self.value(cls, given, path, **known)

    def value(self, cls: type[T], given: Table, path: str, **known: Any) -> tuple[T] | tuple[()]:
        """As `table`, of a table that other classes read too: what none of them knows is the caller's to find."""
        values = known | self.keys(readable(cls), given, path)
        wanting = [f.name for f in attrs.fields(cls) if f.default is attrs.NOTHING and f.name not in values]
        for key in wanting:
            if key not in given:
                self.fault(f"{path}.{key}", "is missing")
        return () if wanting else (cls(**values),)

    def keys(self, marks: Mapping[str, Any], given: Table, path: str) -> dict[str, Any]:
        """Those of the marked keys that the table has and that can be read."""
        return {
            key: value
            for key, mark in marks.items()
            if key in given
            for value in self.key(mark, given[key], f"{path}.{key}")
        }

    def is_table(self, given: object, path: str) -> TypeGuard[Table]:
        if not isinstance(given, dict):
            self.fault(path, f"must be a table, not {shown(given)}")
        return isinstance(given, dict)

    def key(self, mark: Any, given: object, path: str) -> tuple[Any, ...]:
        """What a key holds, by its mark."""
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
        """One value."""
        try:
            return (read(given),)
        except ValueError as error:
            self.fault(path, str(error))
            return ()

    def each(self, read: Read, given: object, path: str) -> tuple[Any, ...]:
        """The entries of a list that can be read."""
        if not isinstance(given, list):
            return self.one(read, given, path)
        return tuple(value for index, entry in enumerate(given) for value in self.one(read, entry, f"{path}[{index}]"))

    def entries(self, mark: Entries, given: object, path: str) -> tuple[Any, ...]:
        """The entries of a table with free keys, in the order of the file."""
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
        """A fault for every key that is neither `known` nor one of the classes'."""
        known = [*known, *(key for cls in classes for key in readable(cls))]
        renamed = {old: new for cls in classes for old, new in getattr(cls, "RENAMED", {}).items()}
        for key in given:
            if key not in known:
                now = f": its name is {renamed[key]} now" if key in renamed else suggestion(key, known)
                self.fault(f"{path}.{key}" if path else key, f"there is no such key{now}")
