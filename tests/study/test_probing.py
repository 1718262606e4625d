"""Probes of a study: of which runs they are taken, where they lie, when they are taken again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llm4seg_probe.config import Config, read_yaml
from llm4seg_probe.errors import ConfigError
from llm4seg_probe.probes.registry import find
from llm4seg_probe.study.analysis import Analysis
from llm4seg_probe.study.pipeline import planned
from llm4seg_probe.study.probing import (
    ABOUT,
    chosen_runs,
    is_probed,
    of_each_run,
    probe_run,
    probe_study,
)
from llm4seg_probe.study.runs import make


def analysis_of(config: Config, **changes: object) -> Analysis:
    base = config.model_dump(mode="json", exclude={"arm", "seed"})
    return Analysis.model_validate(
        {
            "name": "tiny", "title": "Tiny", "question": "?", "rests_on": "Very little.",
            "base": base, "factors": {"arm": ["cnn", "llm"], "seed": [0, 1]},
            "further": [{"arm": ["llm"], "booster.attention": ["bidirectional"]}], **changes,
        }
    )  # fmt: skip


def claim(table: str, score: str, a: str, b: str) -> dict[str, object]:
    pair = {"a": a, "b": b}
    return {"id": table, "statement": "So it is", "table": table, "score": score,
            "comparisons": [pair], "margin": 0.01}  # fmt: skip


def names(config: Config, tmp_path: Path, probe: str, **changes: object) -> list[tuple[str, ...]]:
    analysis = analysis_of(config, **changes)
    chosen = chosen_runs(find(probe), analysis, planned(analysis, tmp_path))
    return [(run.config.arm, run.config.seed, run.config.booster.attention) for run in chosen]


def test_runs_at_the_base_are_probed_of_the_arms_and_seeds_that_are_named(
    tiny_config: Config, tmp_path: Path
) -> None:
    probes = {"names": ["attention"], "arms": ["llm"], "seeds": 1}
    assert names(tiny_config, tmp_path, "attention", probes=probes) == [("llm", 0, "causal")]


def test_a_claim_has_its_probe_taken_of_every_run_that_it_names(
    tiny_config: Config, tmp_path: Path
) -> None:
    claims = [claim("attention", "entropy", "llm[attention=bidirectional]", "llm")]
    analysis = analysis_of(tiny_config, claims=claims)
    assert analysis.probe_names() == ["rank", "maps", "attention"]
    assert sorted(names(tiny_config, tmp_path, "attention", claims=claims)) == [
        ("llm", seed, mask) for seed in (0, 1) for mask in ("bidirectional", "causal")
    ]
    claims = [claim("attention", "entropy", "llm", "llm[null=shuffled]")]
    assert names(tiny_config, tmp_path, "attention", claims=claims) == [
        ("llm", 0, "causal"), ("llm", 1, "causal"),
    ]  # fmt: skip


def test_analysis_files_of_earlier_versions_are_read(tiny_config: Config) -> None:
    further = {"names": ["decode", "swap"], "arms": ["llm"], "seeds": 2}
    earlier = analysis_of(tiny_config, probes={"gallery": 3}, further_probes=further)
    now = {"names": ["rank", "maps", "decode", "swap"], "gallery": 3, "arms": ["llm"], "seeds": 2}
    assert earlier == analysis_of(tiny_config, probes=now)


def test_an_unknown_probe_table_or_column_is_named(tiny_config: Config) -> None:
    for changes, message in (
        ({"probes": {"names": ["atention"]}}, r"unknown probe 'atention'.*attention"),
        ({"claims": [claim("atention", "entropy", "llm", "cnn")]}, r"unknown table 'atention'"),
        ({"claims": [claim("attention", "entropie", "llm", "cnn")]}, r"unknown score 'entropie'"),
    ):
        with pytest.raises(ValueError, match=message):
            analysis_of(tiny_config, **changes)
    with pytest.raises(ConfigError, match=r"unknown probe 'atention'.*Did you mean 'attention'"):
        find("atention")


@pytest.mark.slow
def test_results_lie_beside_what_they_show_and_are_not_made_twice(
    tiny_config: Config, tmp_path: Path
) -> None:
    chosen = ["similarity", "field"]
    analysis = analysis_of(tiny_config, probes={"names": chosen, "seeds": 1})
    runs = planned(analysis, tmp_path / "runs")
    for run in chosen_runs(find("field"), analysis, runs):
        make(run)
    assert list(probe_study(analysis, runs, tmp_path)) == chosen
    for name in chosen:
        about = read_yaml(tmp_path / name / ABOUT)
        assert (about["shows"], about["cannot"]) == (find(name).shows, find(name).limits)
        assert len(about["runs"]) == 2
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.csv")}
    assert list(probe_study(analysis, runs, tmp_path)) == chosen
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.csv")} == times
    sites = analysis_of(
        tiny_config, probes={"names": chosen, "seeds": 1, "sites": ["before", "logits"]}
    )
    probe_study(sites, runs, tmp_path)
    changed = {path.name for path, at in times.items() if path.stat().st_mtime_ns != at}
    assert changed == {"similarity.csv"}  # the field has sites of its own


@pytest.mark.slow
def test_a_run_is_probed_of_what_is_missing_alone(tiny_config: Config, tmp_path: Path) -> None:
    both = analysis_of(tiny_config, probes={"gallery": 2})
    run = planned(both, tmp_path)[0]
    make(run)
    alone = analysis_of(tiny_config, probes={"names": ["rank"], "gallery": 2})
    probe_run(run, of_each_run(alone), alone.probes)
    assert json.loads((run.path / "probes.json").read_text())["probes"] == ["rank"]
    assert is_probed(run, ("rank",), alone.probes)
    assert not is_probed(run, ("rank", "maps"), both.probes)
    at = (run.path / "rank.csv").stat().st_mtime_ns
    probe_run(run, of_each_run(both), both.probes)
    assert (run.path / "rank.csv").stat().st_mtime_ns == at
    written = json.loads((run.path / "probes.json").read_text())
    assert written == {"sites": ["before", "after"], "gallery": 2}  # as earlier versions write it
    assert not is_probed(run, ("rank",), both.probes.model_copy(update={"gallery": 3}))


def test_a_probe_that_fits_no_arm_is_said(
    tiny_config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    probes = {"names": ["attention"], "arms": ["cnn"], "seeds": 1}
    analysis = analysis_of(tiny_config, probes=probes)
    runs = planned(analysis, tmp_path / "runs")
    make(chosen_runs(find("attention"), analysis, runs)[0])
    assert probe_study(analysis, runs, tmp_path) == {}
    assert "Probe attention left out: " in capsys.readouterr().err
