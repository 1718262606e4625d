from pathlib import Path

import pytest

from llm4seg_probe.config import Config, read_yaml
from llm4seg_probe.errors import ConfigError
from llm4seg_probe.study.analysis import Analysis
from llm4seg_probe.study.answer import planned
from llm4seg_probe.study.further import ABOUT, FURTHER, chosen_runs, take_further
from llm4seg_probe.study.overview import PROBES
from llm4seg_probe.sweeps.plan import make


def analysis_of(config: Config, **further: object) -> Analysis:
    base = config.model_dump(mode="json", exclude={"arm", "seed"})
    return Analysis.model_validate(
        {
            "name": "tiny", "title": "Tiny", "question": "?", "rests_on": "Very little.",
            "base": base, "factors": {"arm": ["cnn", "llm"], "seed": [0, 1]},
            "further": [{"arm": ["llm"], "booster.attention": ["bidirectional"]}],
            "further_probes": further,
        }
    )  # fmt: skip


def test_only_runs_at_the_base_are_probed_of_the_arms_and_seeds_that_are_named(
    tiny_config: Config, tmp_path: Path
) -> None:
    analysis = analysis_of(tiny_config, names=["attention"], arms=["llm"], seeds=1)
    runs = planned(analysis, tmp_path)
    assert len(runs) == 6
    chosen = chosen_runs(runs, analysis.further_probes, analysis.base_config())
    assert [(run.config.arm, run.config.seed) for run in chosen] == [("llm", 0)]
    assert chosen[0].config.booster.attention == "causal"


@pytest.mark.slow
def test_results_lie_beside_what_they_show_and_are_not_made_twice(
    tiny_config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["similarity", "field"]
    analysis = analysis_of(tiny_config, names=names, seeds=1)
    runs = planned(analysis, tmp_path / "runs")
    for run in chosen_runs(runs, analysis.further_probes, analysis.base_config()):
        make(run)
    assert list(take_further(analysis, runs, tmp_path)) == names
    for name in names:
        about = read_yaml(tmp_path / name / ABOUT)
        assert about["shows"] == FURTHER[name].shows
        assert len(about["runs"]) == 2
        assert (tmp_path / name / f"{name}.csv").is_file()
    assert take_further(analysis, runs, tmp_path) == {}


def test_a_probe_that_fits_no_arm_is_said_and_an_unknown_one_is_an_error(
    tiny_config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    analysis = analysis_of(tiny_config, names=["attention"], arms=["cnn"], seeds=1)
    runs = planned(analysis, tmp_path / "runs")
    make(chosen_runs(runs, analysis.further_probes, analysis.base_config())[0])
    assert take_further(analysis, runs, tmp_path) == {}
    assert "Probe attention left out: " in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"unknown probe 'atention'.*attention"):
        take_further(analysis_of(tiny_config, names=["atention"]), runs, tmp_path)


def test_every_probe_that_is_listed_can_be_asked_for() -> None:
    assert set(FURTHER) == (set(PROBES) - {"rank", "maps"}) | {"swap"}
    for name, probe in FURTHER.items():
        assert probe.shows.endswith("."), name
