import subprocess
import sys
from pathlib import Path

import pytest

from llm4seg_probe.cli.doctor import examine


def test_a_machine_that_passes_these_tests_needs_no_advice() -> None:
    findings = {finding.what: finding for finding in examine()}
    assert {"python", "torch", "transformers", "torchvision", "cores", "gpu", "cache"} <= set(
        findings
    )
    assert [finding for finding in findings.values() if finding.advice] == []


def test_a_torchvision_that_does_not_fit_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator does not exist')")
    metadata = tmp_path / "torchvision-9.9.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 9.9\n")
    code = (
        "from llm4seg_probe.cli.doctor import _torchvision; found = _torchvision(); "
        "print(found.state, '|', found.advice)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "9.9 does not fit torch" in found.stdout
    assert found.stdout.strip().endswith("| pip uninstall torchvision")


def test_a_cache_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM4SEG_PROBE_CACHE", "/proc/nowhere")
    (cache,) = [finding for finding in examine() if finding.what == "cache"]
    assert cache.advice
