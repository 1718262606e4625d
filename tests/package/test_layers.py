"""The rooms of the package in layers: which room may import which, held for every import."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import llm4seg_probe

ROOT = Path(llm4seg_probe.__file__).parent
NAME = ROOT.name

FOUNDATION = (
    "arms, errors, reading, storage, progress, randomness, yaml_files, presets, fetching, config, "
    "scores, score_names, column_words, pseudonyms, tasks"
)
DATA = f"measures, tables, drawing, {FOUNDATION}"
TRAINING = f"data, models, llm, {DATA}"
PROBES = f"activations, training, {TRAINING}"

MAY_IMPORT = {
    # What is below everything, and does not know the rooms.
    "errors": "",
    "arms": "errors",
    "progress": "errors, reading",
    "randomness": "",
    "column_words": "",
    "pseudonyms": "storage",
    "tasks": "",
    "scores": "errors, column_words",
    "score_names": "scores, errors, column_words",
    "storage": "errors",
    "reading": "errors, storage",
    "yaml_files": "errors, reading, storage",
    "presets": "errors",
    "fetching": "errors, progress, storage, reading",
    "config": "arms, errors, presets, yaml_files, reading, tasks",
    "tables": "errors, scores, storage, reading",
    # The trunk, from the bottom to the top.
    "measures": "errors",
    "drawing": f"tables, {FOUNDATION}",
    "data": DATA,
    "llm": DATA,
    "models": f"llm, {DATA}",
    "training": TRAINING,
    "activations": f"training, {TRAINING}",
    "probes": PROBES,
    "statistics": f"probes, tables, {FOUNDATION}",  # of probes their descriptors alone
    "report": f"probes, statistics, {PROBES}",
    "study": f"report, probes, statistics, {PROBES}",
    "integrations": f"study, report, probes, statistics, {PROBES}",
    "paper": f"study, report, probes, statistics, {PROBES}",  # for the notebooks, which run studies
    "results": f"paper, study, report, probes, statistics, {PROBES}",
    "cli": f"results, study, integrations, report, probes, statistics, {PROBES}",
    "__main__": "cli",
    # Its public names, for type checkers; they are looked up when they are used.
    "__init__": "activations, data, drawing, measures, models, paper, results, training",
}
"""Each room (a folder or a file of the package), and the rooms that its files may import."""

ALLOWED: dict[tuple[str, str], str] = {
    ("probes.effects", "statistics"): "paired changes are compared as conditions are",
    ("drawing.table_rows", "statistics"): "means are drawn as the tables' numbers were computed",
}
"""Imports against the order of the rooms: who (a room or a file), which room, and why.

An entry that nothing needs any more fails a test: the table can only shrink.
"""

DESCRIPTORS = {f"{NAME}.probes.base", f"{NAME}.probes.registry"}
"""What statistics may know of probes: the tables on which claims are stated."""


@dataclass(frozen=True)
class Import:
    """An import statement: where it stands, what it names, and when it runs."""

    module: str
    line: int
    names: str
    type_only: bool
    lazy: bool

    @property
    def exceptions(self) -> set[tuple[str, str]]:
        """Those of ALLOWED that this import needs."""
        own = self.module.removeprefix(f"{NAME}.")
        return {
            (who, room)
            for who, room in ALLOWED
            if f"{own}.".startswith(f"{who}.") and ours(self.names) and room == room_of(self.names)
        }

    def __str__(self) -> str:
        path = ROOT.parent / (self.module.replace(".", "/") + ".py")
        if not path.is_file():
            path = ROOT.parent / self.module.replace(".", "/") / "__init__.py"
        return f"{path.relative_to(ROOT.parent)}:{self.line} imports {self.names}"


@cache
def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def _statements(
    node: ast.AST, type_only: bool, lazy: bool
) -> Iterator[tuple[ast.stmt, bool, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, type_only, lazy
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            for part in child.body:
                yield from _statements(ast.Module([part], []), True, lazy)
            for part in child.orelse:
                yield from _statements(ast.Module([part], []), type_only, lazy)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _statements(child, type_only, lazy or inside)


def _names(statement: ast.stmt) -> Iterator[str]:
    """The modules that a statement imports, ours as far down as there are files."""
    if isinstance(statement, ast.Import):
        yield from (alias.name for alias in statement.names)
    elif isinstance(statement, ast.ImportFrom):
        assert statement.level == 0, "relative imports hide what is imported"
        base = str(statement.module)
        inner = [f"{base}.{alias.name}" for alias in statement.names]
        if base.partition(".")[0] != NAME:
            yield base
        else:
            yield from {name if name in modules() else base for name in inner}


@cache
def imports(module: str) -> tuple[Import, ...]:
    tree = ast.parse(modules()[module].read_text(encoding="utf-8"))
    return tuple(
        Import(module, statement.lineno, name, type_only, lazy)
        for statement, type_only, lazy in _statements(tree, False, False)
        for name in _names(statement)
    )


def room_of(module: str) -> str:
    return [*module.split("."), "__init__"][1]


def ours(name: str) -> bool:
    return name.partition(".")[0] == NAME


def test_every_room_has_its_rule() -> None:
    assert {room_of(module) for module in modules()} - set(MAY_IMPORT) == set()
    named = {room for rule in MAY_IMPORT.values() for room in rule.split(", ") if room}
    assert named <= set(MAY_IMPORT)


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_a_room_imports_only_the_rooms_below_it(room: str) -> None:
    allowed = {room, *MAY_IMPORT[room].split(", ")}
    broken = [
        f"{found}; {room} may import: {MAY_IMPORT[room] or 'nothing of the package'}"
        for module in modules()
        if room_of(module) == room
        for found in imports(module)
        if ours(found.names) and not found.exceptions
        if room_of(found.names) not in allowed
    ]
    assert not broken, "\n".join(broken)


def _packages(module: str) -> list[str]:
    """The module and the packages around it, whose files run when it is imported."""
    parts = module.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _loads(module: str, libraries: set[str]) -> list[str]:
    """Ways from a module to one of the libraries, by what runs when it is imported and used.

    The module's own imports count wherever they stand, those of what it imports at module level.
    """
    ways, seen = [], set()
    queue = [(name, (name,), name == module) for name in _packages(module)]
    while queue:
        here, way, own = queue.pop()
        for found in imports(here):
            if found.type_only or (found.lazy and not own) or found.exceptions:
                continue
            if found.names.partition(".")[0] in libraries:
                ways.append(" via ".join((str(found), *reversed(way[:-1]))))
            elif ours(found.names):
                for name in _packages(found.names):
                    if name not in seen:
                        seen.add(name)
                        queue.append((name, (*way, name), False))
    return ways


def _of_probes(file: str) -> list[str]:
    return [
        name for name in modules() if name.startswith(f"{NAME}.probes.") and name.endswith(file)
    ]


def _foreign(module: str) -> Iterator[Import]:
    for found in imports(module):
        root = found.names.partition(".")[0]
        if not (ours(found.names) or root in sys.stdlib_module_names):
            yield found


def test_figures_are_drawn_without_torch() -> None:
    drawing = [name for name in modules() if room_of(name) == "drawing"]
    ways = [way for name in (*drawing, *_of_probes(".figure")) for way in _loads(name, {"torch"})]
    assert not ways, "figures are drawn from tables, without torch:\n" + "\n".join(ways)


def test_probes_measure_without_drawing() -> None:
    ways = [way for name in _of_probes(".table") for way in _loads(name, {"matplotlib", "seaborn"})]
    assert not ways, "a probe's table.py does not draw:\n" + "\n".join(ways)


def test_a_figure_does_not_import_its_table() -> None:
    broken = [
        str(found)
        for name in _of_probes(".figure")
        for found in imports(name)
        if found.names.endswith(".table")
    ]
    assert not broken, "a figure draws a table that lies on disk:\n" + "\n".join(broken)


def test_measures_need_torch_numpy_and_scipy_only() -> None:
    broken = [
        f"{found}; measures may import torch, numpy and scipy"
        for module in modules()
        if room_of(module) == "measures"
        for found in _foreign(module)
        if found.names.partition(".")[0] not in {"torch", "numpy", "scipy"}
    ]
    assert not broken, "\n".join(broken)


def test_statistics_need_no_torch_and_draw_nothing() -> None:
    statistics = [name for name in modules() if room_of(name) == "statistics"]
    ways = [way for name in statistics for way in _loads(name, {"torch", "matplotlib", "seaborn"})]
    assert not ways, "\n".join(ways)


def test_statistics_know_the_descriptors_of_probes_alone() -> None:
    broken = [
        str(found)
        for module in modules()
        if room_of(module) == "statistics"
        for found in imports(module)
        if ours(found.names) and room_of(found.names) == "probes"
        if found.names not in DESCRIPTORS
    ]
    assert not broken, "statistics may import of probes base and registry:\n" + "\n".join(broken)


def test_help_needs_neither_torch_nor_pandas() -> None:
    heavy = ("torch", "pandas", "numpy", "matplotlib", "transformers", "monai", "lightning")
    code = (
        "import sys\nfrom llm4seg_probe.cli import main\nsys.argv = ['llm4seg-probe', '--help']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.stdout.splitlines()[-1:] == ["[]"], ended.stdout[-300:] + ended.stderr


def test_no_two_files_import_each_other_in_a_ring() -> None:
    graph = {
        module: {
            found.names
            for found in imports(module)
            if ours(found.names) and not found.type_only and not found.exceptions
        }
        - {module}
        for module in modules()
    }
    rings = {frozenset(ring) for ring in _rings(graph)}
    told = [" -> ".join(sorted(name.removeprefix(f"{NAME}.") for name in ring)) for ring in rings]
    assert not told, "files that import each other in a ring:\n" + "\n".join(sorted(told))


def _rings(graph: dict[str, set[str]]) -> list[set[str]]:
    """Strongly connected components of more than one file."""
    reach: dict[str, set[str]] = {}
    for start in graph:
        seen, queue = set(), [start]
        while queue:
            for name in graph[queue.pop()] - seen:
                seen.add(name)
                queue.append(name)
        reach[start] = seen
    rings: list[set[str]] = []
    for name in graph:
        ring = {other for other in reach[name] if name in reach[other]}
        if len(ring) > 1 and ring not in rings:
            rings.append(ring)
    return rings


def test_nothing_is_allowed_that_is_mended() -> None:
    needed = {
        pair for module in modules() for found in imports(module) for pair in found.exceptions
    }
    assert set(ALLOWED) == needed, f"mended, so take out: {sorted(set(ALLOWED) - needed)}"


def test_public_names_are_where_the_package_says() -> None:
    for name in llm4seg_probe.__all__:
        assert getattr(llm4seg_probe, name)


def test_the_test_sees_what_it_forbids(tmp_path: Path) -> None:
    text = (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\n"
        "else:\n    import numpy\ndef f():\n    from scipy import stats\n"
    )
    tree = ast.parse(text)
    seen = [(name, t, z) for s, t, z in _statements(tree, False, False) for name in _names(s)]
    assert seen == [
        ("typing", False, False), ("torch", True, False), ("numpy", False, False),
        ("scipy", False, True),
    ]  # fmt: skip
    assert _rings({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [{"a", "b", "c"}]
