"""The page of nnU-Net: the program takes its commands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from llm4seg_probe.cli.app import app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "nnunet.md").read_text(encoding="utf-8")
LINES = [
    line
    for block in re.findall(r"```console\n(.*?)```", PAGE, re.S)
    for line in block.splitlines()
    if line.startswith("llm4seg-probe")
]


@pytest.mark.parametrize("line", LINES)
def test_its_commands_are_taken(line):
    words = shlex.split(line, comments=True)[1:]
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context(command.name, words)
