"""Good inputs to damage, and commands in processes of their own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from corpus import Materials
from forked import prepare, run
from materials import make_materials

Command = Callable[..., str]


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Materials:
    """A tiny run, language model, data set and folder of results."""
    prepare()
    return make_materials(tmp_path_factory.mktemp("materials"))


@pytest.fixture
def refused(tmp_path: Path) -> Command:
    """Runs a command in a process of its own; the one line with which it is refused.

    The process must end by itself within a minute, take less than 2 GB, and write nothing outside
    of its folder.
    """

    def command(*arguments: object) -> str:
        prepare()
        folder = tmp_path / "process"
        folder.mkdir()
        code, _, memory, said = run([str(argument) for argument in arguments], folder)
        assert code == 2, said
        assert memory < 2000, f"{memory} MB"
        assert "Traceback" not in said
        lines = [line for line in said.splitlines() if line.startswith("Error:")]
        assert len(lines) == 1, said
        assert not list((folder / "home").rglob("PWNED"))
        return lines[0]

    return command
