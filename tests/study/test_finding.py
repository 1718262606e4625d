from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf
from small_results import IOU, write_small_results

from llm4seg_probe.config import Config
from llm4seg_probe.errors import ConfigError, TableError
from llm4seg_probe.paper.results import conditions_in, reports_folder, results_for
from llm4seg_probe.study.engines.local import LocalEngine


def test_the_larger_size_is_taken_then_the_larger_number_of_runs(tmp_path: Path) -> None:
    few = {name: IOU[name] for name in ("cnn", "llm")}
    write_small_results(tmp_path / "many-but-quick", size="quick")
    write_small_results(tmp_path / "few", iou=few)
    assert results_for("maps", reports=tmp_path).results.folder.name == "few"
    write_small_results(tmp_path / "most")
    found = results_for("maps", reports=tmp_path)
    assert found.results.folder.name == "most"
    assert [path.name for path in found.others] == ["few", "many-but-quick"]
    assert not found.made


def test_a_folder_must_hold_the_conditions_and_files(tmp_path: Path) -> None:
    write_small_results(tmp_path / "plain", iou={"cnn": 0.5, "llm": 0.6})
    write_small_results(tmp_path / "layered", size="quick")
    layered = results_for("layers", reports=tmp_path, conditions=["llm[layer=1]"])
    assert layered.results.folder.name == "layered"
    assert conditions_in(layered.results.tables["runs.csv"]) == set(IOU)
    (tmp_path / "plain" / "rank.csv").unlink()
    ranked = results_for("rank", reports=tmp_path, needs=["rank.csv"])
    assert ranked.results.folder.name == "layered"


def test_a_folder_must_have_the_seeds(tmp_path: Path) -> None:
    write_small_results(tmp_path / "one")
    assert results_for("boost", reports=tmp_path, seeds=4).results.folder.name == "one"
    few = write_small_results(tmp_path / "few", size="paper")
    few_seeds = OmegaConf.load(few / "analysis.yaml")
    few_seeds["seeds"] = [0, 1]
    OmegaConf.save(few_seeds, few / "analysis.yaml")
    assert results_for("boost", reports=tmp_path).results.folder.name == "few"
    assert results_for("boost", reports=tmp_path, seeds=3).results.folder.name == "one"


def test_what_cannot_be_read_is_passed_over_and_said(tmp_path: Path) -> None:
    write_small_results(tmp_path / "broken")
    write_small_results(tmp_path / "whole", size="quick")
    (tmp_path / "broken" / "scores.csv").write_text("run,iou\nx,0.5\n")
    found = results_for("maps", reports=tmp_path)
    assert found.results.folder.name == "whole"
    assert "`broken`: scores.csv lacks the columns" in found.origin
    (tmp_path / "broken" / "runs.csv").write_text("no table")
    assert results_for("maps", reports=tmp_path).unreadable == ()


def test_the_sentence_says_what_was_used(tmp_path: Path) -> None:
    write_small_results(tmp_path / "these")
    write_small_results(tmp_path / "those")
    said = results_for("maps", reports=tmp_path).origin
    for part in ("`these`", "`those`", "Title of these", "size small", "3 arms, 4 seeds", "toys"):
        assert part in said
    assert str(tmp_path) not in said


def test_plain_rows_are_those_of_the_arms_as_they_are(tmp_path: Path) -> None:
    write_small_results(tmp_path / "one")
    found = results_for("maps", reports=tmp_path)
    assert set(found.plain("scores.csv")["arm"]) == {"cnn", "llm", "llm-trainable"}
    with pytest.raises(TableError, match=r"there is no comparison\.csv"):
        found.plain("comparison.csv")
    with pytest.raises(TableError, match=r"there is no maps\.npz"):
        found.plain_arrays()


def test_the_folder_of_reports_is_the_nearest_one_above(tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    (tmp_path / "notebooks" / "deep").mkdir(parents=True)
    assert reports_folder(tmp_path / "notebooks" / "deep") == tmp_path / "reports"
    assert reports_folder(tmp_path / "reports") == tmp_path / "reports"


@pytest.mark.slow
def test_without_results_a_small_run_is_made_once(tiny_config: Config, tmp_path: Path) -> None:
    base = tiny_config.model_dump(mode="json", exclude={"arm", "seed"})
    base["training"]["epochs"] = 1
    analysis = tmp_path / "tiny.yaml"
    values = {
        "name": "tiny", "title": "Tiny", "question": "Does it run?", "rests_on": "Very little.",
        "base": base, "factors": {"arm": ["cnn", "llm"], "seed": [0, 1, 2]},
        "sizes": {"quick": {"factors": {"seed": [0, 1]}}}, "probes": {"gallery": 1},
    }  # fmt: skip
    OmegaConf.save(OmegaConf.create(values), analysis)
    made = results_for(analysis, reports=tmp_path / "reports", engine=LocalEngine(workers=1))
    assert made.made
    assert "made just now" in made.origin
    assert made.results.folder == tmp_path / "reports" / "notebooks" / "runs" / "tiny-quick"
    assert made.results.context.seeds == (0, 1)
    assert set(made.plain_arrays().map_arm) == {"cnn", "llm"}
    again = results_for(analysis, reports=tmp_path / "reports")
    assert not again.made
    assert again.results.folder == made.results.folder


def test_an_unknown_analysis_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown analysis 'layer'\. Did you mean 'layers'"):
        results_for("layer", reports=tmp_path)
