"""Limits of docs/style.md on modules, functions, imports and verbs, for the code in pdu/ and router/.

Run as a script to see the figures: `python -m tests.test_structure`. Each exception below is a ceiling: it may be
lowered or removed, never raised, and one that is no longer needed fails the test.
"""

import ast
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from statistics import quantiles
from typing import Final, TypeAlias

import grimp

TOP: Final = Path(__file__).parents[1]
ROOTS: Final = ("pdu", "router")

LONGEST_MODULE: Final = 400
LONGEST_FUNCTION: Final = 80
LONGEST_90TH_PERCENTILE: Final = 25
MOST_FILES_OF_A_VERB: Final = 3

LONG_MODULES: Final[Mapping[str, int]] = {}
"""Modules over the limit, with their lines."""
LONG_FUNCTIONS: Final[Mapping[str, int]] = {}
"""Functions over the limit, with their lines."""
TAKE: Final[Mapping[str, int]] = {}
"""Modules that define `take`, with how often."""
COMMON: Final = frozenset(
    {"run", "open", "close", "read", "write", "send", "receive", "load", "show", "report", "associate", "accept"}
    | {"negotiate", "perform", "request", "abort", "cancel", "encode", "decode", "next", "find", "begin", "finish"}
    | {"list", "list_", "prepare", "faults", "admit", "extended", "release"}
)
"""Names that more than three modules may define: verbs of the standard and of every protocol, and
names that a protocol class prescribes to its implementations."""
_FREQUENT: Final = """
12 add
10 statistics
 8 outcome reload remove
 7 settled
 6 arrived check end failed refuse
 5 adopt advance commit discard drain fail feed of refusal roles serve settle size status store tell text uid wait
 4 address answer ask change choose clock converse count create decide drop due enter export fill
 4 give_back instances is_alive lend length number one proposes read_into syntaxes
"""
"""Other names that more than three modules define today: number of modules, then the names."""
FREQUENT: Final = {name: int(row.split()[0]) for row in _FREQUENT.strip().splitlines() for name in row.split()[1:]}
TEST_IMPORTS: Final = frozenset(
    {
        "tests/router/config/test_service_options.py: tests.router.config.test_reference",
        "tests/router/spool/ledger/test_queries.py: tests.router.spool.ledger.test_ledger",
    }
)
"""Imports of one test module by another that are left."""

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def modules() -> dict[str, ast.Module]:
    """Parse the modules, by path."""
    paths = sorted(path for root in ROOTS for path in (TOP / root).rglob("*.py"))
    return {str(path.relative_to(TOP)): ast.parse(path.read_text("utf-8")) for path in paths}


def module_lengths() -> dict[str, int]:
    """Count the lines of each module."""
    return {path: len((TOP / path).read_text("utf-8").splitlines()) for path in modules()}


def functions() -> Iterator[tuple[str, Function]]:
    """Yield (module, function) for every function and method, nested ones too."""
    for path, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, Function):
                yield path, node


def function_lengths() -> dict[str, int]:
    """Count the lines of each function, from its `def` to its end, docstring included."""
    lengths: dict[str, int] = {}
    for path, node in functions():
        name = f"{path}:{node.name}"
        lengths[name] = max(lengths.get(name, 0), _length(node))
    return lengths


def _length(node: Function) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def percentile_90() -> float:
    return quantiles([_length(node) for _, node in functions()], n=10)[-1]


def modules_by_name() -> dict[str, set[str]]:
    """Return the modules that define a function, by the function's name without leading underscores."""
    found: dict[str, set[str]] = defaultdict(set)
    for path, node in functions():
        if not node.name.startswith("__"):
            found[node.name.lstrip("_")].add(path)
    return found


@cache
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*ROOTS)


def circles() -> list[list[str]]:
    """Return the import circles among packages and modules, at every depth of the tree."""
    found: list[list[str]] = []
    names = {name: name.split(".") for name in graph().modules}
    for depth in range(2, 1 + max(len(parts) for parts in names.values())):
        edges: dict[str, set[str]] = defaultdict(set)
        for name, parts in names.items():
            for other in graph().find_modules_directly_imported_by(name):
                unit, target = ".".join(parts[:depth]), ".".join(other.split(".")[:depth])
                if unit != target:
                    edges[unit].add(target)
        found += [sorted(group) for group in _circles_of(edges) if sorted(group) not in found]
    return found


def _circles_of(edges: Mapping[str, set[str]]) -> list[set[str]]:
    """Return the groups of nodes that reach one another."""
    reach = {node: _reachable(node, edges) for node in edges}
    groups = {frozenset(other for other in reach[node] if node in reach.get(other, ())) for node in edges}
    return [set(group) for group in groups if len(group) > 1]


def _reachable(node: str, edges: Mapping[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    todo = [node]
    while todo:
        for target in edges.get(todo.pop(), ()):
            if target not in seen:
                seen.add(target)
                todo.append(target)
    return seen


def layers() -> dict[str, int]:
    """Return the packages of the import contract, the lowest layer first."""
    contracts = tomllib.loads((TOP / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    rows = next(one["layers"] for one in contracts if one["name"] == "imports run one way")
    return {name.strip(): level for level, row in enumerate(reversed(rows)) for name in row.split("|")}


def _level(name: str) -> int | None:
    parts = name.split(".")
    known = layers()
    prefixes = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((known[prefix] for prefix in prefixes if prefix in known), None)


def uncovered() -> list[str]:
    """Return the modules that the import contract does not cover."""
    free = {"router", "router.__main__"}
    return sorted(name for name in graph().modules if _level(name) is None and name not in free)


def imports_that_run_up() -> list[str]:
    """Return the imports from a lower layer of the contract to a higher one."""
    found: list[str] = []
    for name in sorted(graph().modules):
        for other in sorted(graph().find_modules_directly_imported_by(name)):
            lower, upper = _level(name), _level(other)
            if lower is not None and upper is not None and upper > lower:
                found.append(f"{name} -> {other}")
    return found


def over(lengths: Mapping[str, int], limit: int) -> dict[str, int]:
    return {name: count for name, count in lengths.items() if count > limit}


def check(found: Mapping[str, int], exceptions: Mapping[str, int]) -> None:
    """Check that only the exceptions are over a limit, none further than it may, and all of them still are."""
    assert {name: count for name, count in found.items() if count > exceptions.get(name, 0)} == {}
    assert sorted(exceptions.keys() - found.keys()) == [], "exceptions that are no longer needed"


def test_modules_are_short() -> None:
    check(over(module_lengths(), LONGEST_MODULE), LONG_MODULES)


def test_functions_are_short() -> None:
    check(over(function_lengths(), LONGEST_FUNCTION), LONG_FUNCTIONS)
    assert percentile_90() <= LONGEST_90TH_PERCENTILE


def test_no_packages_or_modules_import_one_another_in_a_circle() -> None:
    assert circles() == []


def test_imports_run_one_way_and_the_contract_covers_every_package() -> None:
    assert imports_that_run_up() == []
    assert uncovered() == []


def test_nothing_is_called_take() -> None:
    check(dict.fromkeys(modules_by_name().get("take", ()), 1), TAKE)


def test_a_verb_is_defined_in_at_most_three_modules() -> None:
    """`FREQUENT` has what is there today: nothing may be added, and no number may grow."""
    counts = {name: len(paths) for name, paths in modules_by_name().items() if name not in COMMON}
    assert {
        name: count for name, count in over(counts, MOST_FILES_OF_A_VERB).items() if count > FREQUENT.get(name, 0)
    } == {}


def test_test_modules_import_no_other_test_module() -> None:
    """Helpers that several tests use are in tests/support, or in a module of the package that is not a test."""
    found = {
        f"{path.relative_to(TOP)}: {node.module}"
        for path in (TOP / "tests").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").rpartition(".")[2].startswith("test_")
    }
    assert found <= TEST_IMPORTS


def report() -> str:
    longest_module = max(module_lengths().items(), key=lambda one: one[1])
    longest_function = max(function_lengths().items(), key=lambda one: one[1])
    frequent = over({name: len(paths) for name, paths in modules_by_name().items()}, MOST_FILES_OF_A_VERB)
    lines = [
        f"modules: {len(modules())}, the longest {longest_module[0]} with {longest_module[1]} lines",
        *(f"  over {LONGEST_MODULE}: {name} {count}" for name, count in over(module_lengths(), LONGEST_MODULE).items()),
        f"functions: {len(list(functions()))}, the longest {longest_function[0]} with {longest_function[1]} lines",
        f"90th percentile of function length: {percentile_90():.0f} lines",
        f"import circles: {circles()}",
        f"imports that run up: {imports_that_run_up()}",
        f"modules outside of the import contract: {uncovered()}",
        f"names defined in more than {MOST_FILES_OF_A_VERB} modules:",
        *(f"  {name} {count}" for name, count in sorted(frequent.items(), key=lambda one: (-one[1], one[0]))),
        f"`take` is defined in: {sorted(modules_by_name().get('take', ()))}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(report())
