"""What runs cost on GPUs that are not there: counted work, its limits, and the table."""

from __future__ import annotations

import pytest

from llm4seg_probe.arms import ARMS
from llm4seg_probe.config import Config
from llm4seg_probe.models.costs import costs
from llm4seg_probe.models.reference import LANGUAGE_MODELS
from llm4seg_probe.study.analysis import analyses_folder, load_analysis
from llm4seg_probe.study.forecast import (
    GPUS,
    IMAGES,
    RANGE,
    Span,
    gpu_forecast,
    step_seconds,
    totals,
)
from llm4seg_probe.tasks import TASKS
from llm4seg_probe.training.work import Kernel, Work, work_of_step

LLAMA = {"source": "meta-llama/Llama-3.2-1B", "layer": 15}


def config_of(arm: str, **sections: object) -> Config:
    values = {
        "arm": arm,
        "data": {"name": "busi", "image_size": [64, 64], "channels": 3},
        "backbone": {"widths": [4, 8, 8, 8, 8]},
        "booster": LLAMA,
        "training": {"batch_size": 2, "epochs": 3},
        **sections,
    }
    return Config.model_validate(values)


def test_a_kernel_takes_the_longer_of_arithmetic_and_memory() -> None:
    work = Work({Kernel("matrix", 100, 10): 2, Kernel("moving", 0, 30): 1})
    assert work.count == 3
    assert work.flops == 200
    assert work.least_seconds(flops=50, bandwidth=10) == {
        "matrix": 4.0, "convolution": 0.0, "grouped": 0.0, "moving": 3.0,
    }  # fmt: skip
    assert work.least_seconds(flops=1000, bandwidth=10)["matrix"] == 2.0


def test_a_small_step_waits_for_its_kernels_to_be_started() -> None:
    work = Work({Kernel("moving", 0, 8): 1000})
    shares = dict.fromkeys(("matrix", "convolution", "grouped", "moving"), 0.5)
    assert step_seconds(work, 1e12, 1e12, 0.001, shares).middle == pytest.approx(1.0)
    slow = step_seconds(work, 1e12, 1e3, 0.001, shares)
    assert slow.middle == pytest.approx(16.0)
    assert (slow.low, slow.high) == (slow.middle / RANGE, slow.middle * RANGE)
    assert Span(3.0).text() == "1.5 to 6.0"


@pytest.mark.parametrize("arm", ["cnn", "llm", "transformer"])
def test_the_backward_pass_of_what_is_trained_is_twice_the_forward_pass(arm: str) -> None:
    config = config_of(arm)
    counted = costs(config)
    forward = config.training.batch_size * counted.total.flops
    frozen = config.training.batch_size * counted.part("layer").flops if arm == "llm" else 0
    # Of a frozen layer only the gradient of its input, and the image needs none.
    assert 0.9 < work_of_step(config).flops / (3 * forward - frozen) < 1.02


def test_the_forecast_has_a_row_for_each_gpu_and_counts_seeds_once() -> None:
    configs = [config_of(arm, seed=seed) for arm in ("cnn", "llm") for seed in range(3)]
    rows = gpu_forecast(configs)
    assert list(rows["gpu"]) == 2 * [gpu.name for gpu in GPUS]
    assert set(rows["runs"]) == {3}
    assert (rows["hours_low"] * 60 / 3).to_numpy() == pytest.approx(rows["minutes_low"].to_numpy())
    assert (rows["minutes_high"] / rows["minutes_low"]).to_numpy() == pytest.approx(RANGE**2)
    assert rows["fits"].all()
    printed = totals(rows)
    assert list(printed["dataset"]) == 3 * ["busi"] + 3 * ["all"]
    assert set(printed["runs"]) == {6}


def test_a_run_takes_longer_by_its_images_and_epochs() -> None:
    first, second = (
        gpu_forecast([config_of("cnn", data={"name": name, "image_size": [64, 64]})])
        for name in ("kvasir", "tnscui")
    )
    ratio = (second["minutes_low"] / first["minutes_low"]).iloc[0]
    assert ratio == pytest.approx(IMAGES["tnscui"] / IMAGES["kvasir"], rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(analyses_folder().glob("*.yaml")), ids=lambda p: p.stem)
def test_every_analysis_has_shapes_and_memory_at_size_paper(path) -> None:
    analysis = load_analysis(path)
    if "paper" not in analysis.sizes:
        pytest.skip(f"{path.stem} has no size paper")
    known = set()
    for config in analysis.at("paper").configs():
        kind = (config.arm, config.backbone.name, config.data.image_size, config.booster.source)
        boosted = ARMS[config.arm].middle != "nothing"
        if kind in known or (boosted and config.booster.source not in LANGUAGE_MODELS):
            continue  # what its config.json says would be asked of the Hub
        known.add(kind)
        counted = costs(config)
        assert counted.total.memory > 0
        pooled = TASKS[config.task].pooled
        assert counted.sites["logits"][1:] == ((1, 1) if pooled else config.data.image_size)
    assert known
