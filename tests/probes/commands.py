"""Commands as a user types them, for the tests of the probes."""

from __future__ import annotations

from typer.testing import CliRunner, Result

from llm4seg_probe.cli.app import app


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(*arguments: object) -> str:
    """The one line with which a command ends in exit code 2, beside runs that are left out."""
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    lines = [line for line in result.stderr.strip().splitlines() if "left out" not in line]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("Error: ")
    return lines[0]
