"""Fields of an analysis set on the command line hold at every size, or are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm4seg_probe.errors import ConfigError
from llm4seg_probe.study.analysis import load_analysis, shipped
from llm4seg_probe.study.pipeline import planned


def test_a_field_of_the_base_goes_before_what_a_size_says() -> None:
    analysis = load_analysis(
        shipped("boost"), ("base.data.name=kvasir", "base.booster.source=./llama")
    )
    for size in ("quick", "paper"):
        configs = analysis.at(size).configs()
        assert {config.data.name for config in configs} == {"kvasir"}
        assert {config.booster.source for config in configs} == {"./llama"}
    assert analysis.at("paper").base_config().data.image_size == (256, 256)


def test_a_factor_goes_by_its_fields_whole_name() -> None:
    analysis = load_analysis(shipped("table-2d"), ("factors.data.name=[kvasir]",))
    assert {config.data.name for config in analysis.at("paper").configs()} == {"kvasir"}
    seeds = load_analysis(shipped("boost"), ("factors.seed=[7]",))
    assert {config.seed for config in seeds.at("quick").configs()} == {7}


def test_a_factor_of_a_size_alone_gives_way_to_a_field_of_the_base() -> None:
    analysis = load_analysis(shipped("table-2d"), ("base.data.name=kvasir",))
    for size in ("quick", "paper"):
        assert {config.data.name for config in analysis.at(size).configs()} == {"kvasir"}


def test_a_field_that_a_factor_varies_is_refused_with_what_to_set() -> None:
    with pytest.raises(ConfigError, match=r"name is a factor here.*factors\.backbone\.name=\[unet"):
        load_analysis(shipped("table-2d"), ("base.backbone.name=unet",))


def test_a_factor_of_some_runs_leaves_the_field_of_the_others_to_be_set() -> None:
    analysis = load_analysis(shipped("any-llm"), ("base.booster.source=./llama",))
    sources = {config.booster.source for config in analysis.configs()}
    assert sources == {"./llama", "Qwen/Qwen2.5-0.5B"}


def test_an_analysis_that_unites_others_takes_fields_too() -> None:
    analysis = load_analysis(shipped("answer"), ("base.training.epochs=1",))
    assert {config.training.epochs for config in analysis.configs()} == {1}


@pytest.mark.parametrize(
    ("side", "message"),
    [(32, "dynunet-2d needs multiples of 64"), (64, "dynunet-2d one position at its bottleneck")],
)
def test_a_run_that_cannot_be_built_is_told_before_the_first_one_begins(
    side: int, message: str, tmp_path: Path
) -> None:
    chosen = ("factors.data.name=[phantoms-texture]", f"base.data.image_size=[{side}, {side}]")
    analysis = load_analysis(shipped("table-2d"), (*chosen, "base.data.split=cases")).at("paper")
    with pytest.raises(ConfigError, match=message):
        planned(analysis, tmp_path)
    assert not list(tmp_path.iterdir())
