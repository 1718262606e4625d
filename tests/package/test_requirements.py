"""What the package imports is declared, and what it declares it imports."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import llm4seg_probe

ROOT = Path(llm4seg_probe.__file__).parent
DECLARED = tomllib.loads((ROOT.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
IMPORTED_AS = {
    "nibabel": "nibabel", "pynrrd": "nrrd", "pillow": "PIL", "PyYAML": "yaml",
    "huggingface_hub": "huggingface_hub",
}  # fmt: skip


def imported() -> set[str]:
    names = set()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names) - {ROOT.name}


def declared(requirements: list[str]) -> set[str]:
    names = {re.split(r"[\[<>=!~ ;]", requirement)[0] for requirement in requirements}
    return {IMPORTED_AS.get(name, name) for name in names}


def test_what_is_imported_is_declared() -> None:
    extras = DECLARED["optional-dependencies"]
    optional = [r for extra in ("ray", "loggers", "nnunet") for r in extras[extra]]
    missing = imported() - declared([*DECLARED["dependencies"], *optional])
    assert not missing


def test_what_is_declared_is_imported() -> None:
    assert not declared(DECLARED["dependencies"]) - imported()
