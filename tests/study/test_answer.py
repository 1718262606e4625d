from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from llm4seg_probe import tables
from llm4seg_probe.config import Config
from llm4seg_probe.errors import ConfigError
from llm4seg_probe.probes.maps import MAPS
from llm4seg_probe.probes.rank import RANK
from llm4seg_probe.study.analysis import Analysis, analyses_folder, load_analysis, shipped
from llm4seg_probe.study.pipeline import Answer, answer, planned

CLAIMS = [
    {
        "id": "boost", "statement": "The layer improves segmentation", "score": "iou",
        "where": {"split": "test", "checkpoint": "best"},
        "comparisons": [{"a": "llm", "b": "cnn"}], "margin": 0.005,
    },
    {
        "id": "rank", "statement": "Features get richer", "table": "rank",
        "score": "effective_rank", "where": {"part": "all", "null": ""},
        "comparisons": [{"a": "llm@after", "b": "cnn@after"}], "margin": 0.5,
    },
]  # fmt: skip


@pytest.fixture(scope="module")
def analysis(tiny_config: Config) -> Analysis:
    """Two arms over two seeds on the tiny data."""
    base = tiny_config.model_dump(mode="json", exclude={"arm", "seed"})
    return Analysis.model_validate(
        {
            "name": "tiny", "title": "Tiny", "question": "Does it run?", "rests_on": "Very little.",
            "base": base, "factors": {"arm": ["cnn", "llm"], "seed": [0, 1]}, "claims": CLAIMS,
            "probes": {"gallery": 2},
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def answered(analysis: Analysis, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    """The analysis answered once."""
    out = tmp_path_factory.mktemp("answer")
    return out, answer(analysis, out, size="small")


@pytest.mark.slow
def test_every_table_and_the_page_are_there(answered: tuple[Path, Answer]) -> None:
    out, found = answered
    assert found.page == out / "index.html"
    for schema in (tables.RUNS, tables.SCORES, RANK, MAPS, tables.COMPARISON):
        assert len(tables.read_table(out / schema.name, schema))
    assert list(tables.read_table(out / "claims.csv", tables.CLAIMS)["claim"]) == ["boost", "rank"]
    with np.load(out / "maps.npz", allow_pickle=False) as arrays:
        assert arrays["map_levels"].shape[:2] == (8, 2)


@pytest.mark.slow
def test_asked_again_it_trains_nothing_and_says_the_same(
    answered: tuple[Path, Answer], analysis: Analysis
) -> None:
    out, found = answered
    before = {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*")}
    again = answer(analysis, out, size="small")
    assert {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*")} == before
    pd.testing.assert_frame_equal(again.claims, found.claims)


@pytest.mark.slow
def test_elsewhere_the_same_tables_to_the_bit(
    answered: tuple[Path, Answer], analysis: Analysis, tmp_path: Path
) -> None:
    out, _ = answered
    answer(analysis, tmp_path, size="small")
    for name in ("scores.csv", "rank.csv", "maps.csv", "comparison.csv", "claims.csv"):
        assert (out / name).read_bytes() == (tmp_path / name).read_bytes(), name


@pytest.mark.slow
def test_a_run_lost_is_made_again_and_the_others_are_kept(
    answered: tuple[Path, Answer], analysis: Analysis
) -> None:
    out, _ = answered
    lost, *kept = planned(analysis, out / "runs")
    (lost.path / "environment.json").unlink()
    (lost.path / "last.pt").unlink()
    times = [run.checkpoint.stat().st_mtime_ns for run in kept]
    scores = (out / "scores.csv").read_bytes()
    answer(analysis, out, size="small")
    assert lost.done
    assert [run.checkpoint.stat().st_mtime_ns for run in kept] == times
    assert (out / "scores.csv").read_bytes() == scores


def test_a_run_of_other_settings_has_another_folder(analysis: Analysis, tmp_path: Path) -> None:
    changed = analysis.model_copy(
        update={"base": {**analysis.base, "training": {"epochs": 3, "batch_size": 4}}}
    )
    names = {run.path.name for run in planned(analysis, tmp_path)}
    assert not names & {run.path.name for run in planned(changed, tmp_path)}


@pytest.mark.parametrize("path", sorted(analyses_folder().glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_analysis_is_valid_in_each_of_its_sizes(path: Path) -> None:
    found = load_analysis(path)
    for size in found.sizes:
        seeds = {config.seed for config in found.at(size).configs()}
        assert len(seeds) >= 2


def test_the_demo_is_three_arms_over_five_seeds() -> None:
    demo = load_analysis(shipped("demo"))
    assert len(demo.at("small").configs()) == 15
    assert len(demo.at("quick").configs()) == 4


def test_what_is_wrong_with_an_analysis_is_said(tmp_path: Path) -> None:
    text = shipped("demo").read_text()
    for old, new, message in [
        ("name: demo", "nam: demo", r"nam: unknown field 'nam'. Did you mean 'name'\?"),
        (
            "epochs: 10",
            "epoch: 10",
            r"training.epoch: unknown field 'epoch'. Did you mean 'epochs'",
        ),
        ("arm: [cnn, random-frozen,", "arm: [cnn, random-frosen,", "Did you mean 'random-frozen'"),
        ("arm: [cnn, llm]", "arm: []", "factors.arm: Tuple should have at least 1 item"),
        ("baseline: cnn", "baseline: mlp", "comparison.baseline: unknown arm 'mlp'"),
        ("score: effective_rank", "score: efective_rank", "Did you mean 'effective_rank'"),
    ]:
        path = tmp_path / "changed.yaml"
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(ConfigError, match=message) as refused:
            load_analysis(path)
        assert "\n" not in str(refused.value)
    with pytest.raises(ConfigError, match=r"unknown analysis 'demmo'. Did you mean 'demo'\?"):
        shipped("demmo")
    with pytest.raises(ConfigError, match="unknown size 'paper'"):
        load_analysis(shipped("demo")).at("paper")
