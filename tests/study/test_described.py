from pathlib import Path

import pandas as pd
import pytest
import studies
from omegaconf import OmegaConf

from llm4seg_probe import storage
from llm4seg_probe.arms import by_condition, parse_condition
from llm4seg_probe.config import Config
from llm4seg_probe.errors import ConfigError
from llm4seg_probe.statistics.claims import Claim, ClaimedPair
from llm4seg_probe.statistics.judgement import judge
from llm4seg_probe.study.analysis import Size, Sweep, analyses_folder, load_analysis
from llm4seg_probe.study.runs import PlannedRun, described, deviations, plan

SWEEP = Sweep.model_validate(
    {
        "name": "layers",
        "factors": {"arm": ["cnn", "llm"], "seed": [0, 1]},
        "further": [
            {"arm": ["llm"], "booster.layer": [3, 15]},
            {"arm": ["llm", "cnn"], "data.name": ["phantoms-shape"], "data.split": ["groups"]},
            {"arm": ["cnn"], "data.split": ["reference"]},
        ],
    }
)


@pytest.fixture
def runs(tmp_path: Path) -> list[PlannedRun]:
    """The sweep's runs, of which only the note on their costs exists."""
    configs = SWEEP.configs()
    found = plan(configs, ["data"] * len(configs), tmp_path)
    for run in found:
        storage.write_json(run.path / "environment.json", studies.MADE)
    return found


def test_a_run_that_two_grids_name_is_made_once_and_whole_seeds_come_first() -> None:
    found = [(c.seed, c.arm, c.booster.layer, c.data.name) for c in SWEEP.configs()]
    one_seed = [
        ("cnn", 15, "spine"),
        ("llm", 15, "spine"),
        ("llm", 3, "spine"),
        ("llm", 15, "phantoms-shape"),
        ("cnn", 15, "phantoms-shape"),
        ("cnn", 15, "spine"),
    ]
    assert found == [(seed, *rest) for seed in (0, 1) for rest in one_seed]


def test_a_size_changes_a_factor_where_it_occurs_and_adds_one_that_occurs_nowhere() -> None:
    sized = SWEEP.model_copy(
        update={
            "sizes": {
                "quick": Size(factors={"seed": (7,), "booster.layer": (4,)}),
                "paper": Size(factors={"backbone.name": ("cmunext", "unet")}),
            }
        }
    )
    quick = [(c.seed, c.arm, c.booster.layer) for c in sized.at("quick").configs()]
    assert quick.count((7, "llm", 4)) == 1
    assert {layer for seed, arm, layer in quick if arm == "cnn"} == {15}
    paper = sized.at("paper").configs()
    assert {c.arm for c in paper if c.backbone.name == "unet"} == {"cnn", "llm"}


def test_a_run_says_where_it_deviates_and_the_split_goes_with_its_data(
    runs: list[PlannedRun],
) -> None:
    table = described(runs, Config())
    first = table[table["seed"] == "0"]
    assert first["deviation"].tolist() == [
        "", "", "layer=3", "dataset=phantoms-shape", "dataset=phantoms-shape",
        "data.split=reference",
    ]  # fmt: skip
    assert first["layer"].tolist() == ["", "15", "3", "15", "", ""]
    assert set(table["data.split"]) == {"blocks", "groups", "reference"}


def test_a_field_that_is_called_like_a_score_keeps_its_whole_name() -> None:
    precise = Config.model_validate({"compute": {"precision": "bf16"}})
    assert deviations([Config(), precise], Config()) == ["", "compute.precision=bf16"]


def test_an_arm_alone_means_the_runs_that_do_not_deviate(runs: list[PlannedRun]) -> None:
    table = described(runs, Config())
    scores = table[["run", "dataset", "arm", "seed"]].copy()
    scores["seed"] = scores["seed"].astype(int)
    scores["image"], scores["group"] = "image", "case"
    value = {"": 0.5, "data.split=reference": 0.4, "layer=3": 0.7, "dataset=phantoms-shape": 0.9}
    noise = scores["seed"] * 0.01 * (scores["arm"] == "llm")
    scores["iou"] = table["deviation"].map(value) + noise + 0.1 * (scores["arm"] == "llm")
    pairs = [
        ("llm", "cnn", 0.1),
        ("llm[layer=3]", "llm", 0.2),
        ("llm[dataset=phantoms-shape]", "cnn[dataset=phantoms-shape]", 0.1),
        ("llm[dataset=phantoms-shape] - cnn[dataset=phantoms-shape]", "llm[layer=3] - cnn", -0.2),
    ]
    for a, b, wanted in pairs:
        claim = Claim(id="c", statement="s", comparisons=(ClaimedPair(a=a, b=b),), margin=0.01)
        rows, _ = judge([claim], {"scores": scores, "runs": table}, bootstrap=0)
        assert rows["difference"].item() == pytest.approx(wanted, abs=0.0101)
    told = by_condition(scores, table)
    assert sorted(told["arm"].drop_duplicates()) == [
        "cnn", "cnn[data.split=reference]", "llm", "llm[layer=3]",
    ]  # fmt: skip


def test_a_united_analysis_holds_the_runs_and_claims_of_its_members() -> None:
    path = analyses_folder() / "answer.yaml"
    whole = load_analysis(path)
    names = OmegaConf.load(path)["unites"]
    members = [load_analysis(path.parent / name) for name in names]
    assert [claim for member in members for claim in member.claims] == list(whole.claims)
    united = {config.model_dump_json() for config in whole.configs()}
    for member in members:
        assert member.base_config() == whole.base_config()
        assert {config.model_dump_json() for config in member.configs()} <= united


@pytest.mark.parametrize("path", sorted(analyses_folder().glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_analysis_has_its_sizes_and_its_claims_name_conditions(path: Path) -> None:
    analysis = load_analysis(path)
    assert set(analysis.sizes) >= {"quick", "small"}
    arms = {config.arm for config in analysis.configs()}
    for claim in analysis.claims:
        if isinstance(claim, Claim):
            texts = [text for pair in claim.comparisons for text in (pair.a, pair.b)]
            terms = [term for text in texts for _, term in parse_condition(text).terms]
            assert {term.arm for term in terms} <= arms


def test_what_does_not_share_a_base_is_not_united(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("name: a\nfactors: {arm: [cnn]}\nunites: [b.yaml]\n")
    (tmp_path / "b.yaml").write_text("name: b\nbase: {seed: 3}\nfactors: {arm: [cnn]}\n")
    with pytest.raises(ConfigError, match=r"a\.yaml unites b\.yaml, whose base or sizes"):
        load_analysis(tmp_path / "a.yaml")


def test_tables_without_deviation_are_read_as_they_were() -> None:
    runs = pd.DataFrame({"run": ["r"], "deviation": [float("nan")]})
    table = pd.DataFrame({"run": ["r"], "arm": ["llm"]})
    assert by_condition(table, runs)["arm"].tolist() == ["llm"]
