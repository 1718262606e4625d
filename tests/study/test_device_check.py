"""The check of a device, on the device that every machine has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llm4seg_probe.cli.app import app
from llm4seg_probe.study import device_check, device_measures
from llm4seg_probe.study.device_bench import Bench, Row
from llm4seg_probe.study.device_check import check_device


def broken(bench: Bench) -> Iterator[Row]:
    raise RuntimeError("no kernel image | is available")
    yield Row("", "", "")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick checks, one that cannot be made here, and one that goes wrong."""
    checks = {name: device_measures.CHECKS[name] for name in ("equal bits", "effective rank")}
    checks |= {"memory": device_measures.memory, "broken": broken}
    monkeypatch.setattr(device_check, "CHECKS", checks)


@pytest.mark.usefixtures("few")
def test_a_check_names_what_is_wrong_and_what_was_skipped(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["doctor", "--device", "cpu", "--out", str(tmp_path), "--json"]
    )
    assert result.exit_code == 1  # for the broken one
    told = json.loads(result.stdout)
    good = {row["check"]: row["good"] for row in told["rows"] if row["good"] is not None}
    assert good == {"equal bits": True, "effective rank": True, "broken": False}
    assert told["skipped"] == [["memory", "only CUDA says what a step holds"]]
    page = (tmp_path / "CPU.md").read_text()
    assert "| equal bits | weights after 4 steps, twice | equal | equal | as wanted |" in page
    assert "RuntimeError: no kernel image / is available" in page
    assert "smaller than the published one" in page


def test_what_there_is_no_time_for_is_named() -> None:
    found = check_device("cpu", limit=-1)
    assert found.rows == ()
    assert [name for name, _ in found.skipped] == list(device_measures.CHECKS)
    assert "- golden numbers: -1 s were over" in found.markdown()


def test_the_golden_numbers_come_out_of_the_checkout() -> None:
    bench = Bench(device_check.device_named("cpu"), True, Path("unused"))
    rows = list(device_measures.golden_numbers(bench))
    assert [row.good for row in rows] == [True]
