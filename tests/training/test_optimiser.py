import math

import pytest
import torch
from pydantic import ValidationError
from torch.nn import Parameter

from llm4seg_probe.config import OptimiserConfig
from llm4seg_probe.errors import ConfigError
from llm4seg_probe.training.optimiser import optimiser, schedule


def parts(layer: int = 1) -> dict[str, list[Parameter]]:
    def some(count: int) -> list[Parameter]:
        return [Parameter(torch.zeros(2)) for _ in range(count)]

    return {"cnn": some(2), "adapters": some(1), "layer": some(layer)}


def test_each_part_has_its_own_rate_and_decay() -> None:
    config = OptimiserConfig(lr=0.1, layer_lr=0.001, weight_decay=0.5, adapters_weight_decay=0.0)
    groups = optimiser(config, parts()).param_groups
    assert [(group["name"], group["lr"], group["weight_decay"]) for group in groups] == [
        ("cnn", 0.1, 0.5), ("adapters", 0.1, 0.0), ("layer", 0.001, 0.5),
    ]  # fmt: skip


def test_a_part_without_trainable_parameters_has_no_group() -> None:
    assert len(optimiser(OptimiserConfig(name="sgd"), parts(layer=0)).param_groups) == 2


def rates(name: str, steps: int, **options: float) -> list[float]:
    config = OptimiserConfig(name="sgd", lr=0.01, schedule=name, **options)
    chosen = optimiser(config, parts())
    plan = schedule(config, chosen, steps)
    seen = []
    for _ in range(steps):
        seen.append(chosen.param_groups[0]["lr"])
        chosen.step()
        plan.step()
    return seen


def test_the_published_polynomial_runs_its_first_two_steps_at_the_full_rate() -> None:
    published, rate = [], 0.01  # the published loop: the counter moves after the rate is set
    for step in range(6):
        published.append(rate)
        rate = 0.01 * (1 - step / 6) ** 0.9
    assert rates("polynomial", 6) == pytest.approx(published)


def test_one_cycle_peaks_at_the_configured_rate_and_constant_stays() -> None:
    assert max(rates("one-cycle", 100)) == pytest.approx(0.01)
    assert rates("one-cycle", 100)[-1] < 1e-6
    assert set(rates("constant", 5)) == {0.01}


def test_cosine_and_another_power_in_closed_form() -> None:
    half = [0.005 * (1 + math.cos(math.pi * step / 8)) for step in range(8)]
    assert rates("cosine", 8) == pytest.approx(half)
    linear = [0.01 * (1 - max(step - 1, 0) / 5) for step in range(5)]
    assert rates("polynomial", 5, power=1.0) == pytest.approx(linear)


@pytest.mark.parametrize("name", ["cosine", "polynomial", "constant"])
def test_a_warm_up_rises_linearly_and_leaves_the_rest_to_the_schedule(name: str) -> None:
    found = rates(name, 10, warmup_steps=4)
    assert found[:4] == pytest.approx([0.002, 0.004, 0.006, 0.008])
    assert found[4:] == pytest.approx(rates(name, 6))


def first_steps(name: str, **options: object) -> tuple[list[float], list[float]]:
    """A parameter's way under gradients of 1, and then of -2, from 1, by ours and by torch's."""
    ways = []
    for ours in (True, False):
        weight = Parameter(torch.ones(()))
        if ours:
            config = OptimiserConfig(name=name, lr=0.1, weight_decay=0.5, **options)
            chosen = optimiser(config, {"cnn": [weight], "adapters": [], "layer": []})
        else:
            kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
            chosen = kinds[name]([weight], lr=0.1, weight_decay=0.5, **options)
        way = []
        for gradient in (1.0, -2.0):
            weight.grad = torch.tensor(gradient)
            chosen.step()
            way.append(weight.item())
        ways.append(way)
    return ways[0], ways[1]


@pytest.mark.parametrize(
    ("name", "options"),
    [("adamw", {}), ("adam", {}), ("sgd", {"momentum": 0.9, "nesterov": True})],
)
def test_each_optimiser_is_torch_s(name: str, options: dict) -> None:
    ours, theirs = first_steps(name, **options)
    assert ours == theirs


def test_weight_decay_and_nesterov_by_hand() -> None:
    # adamw shrinks by lr * decay apart from a step of lr; adam's first step is lr whatever it is.
    assert first_steps("adamw")[0][0] == pytest.approx(1 - 0.05 - 0.1)
    assert first_steps("adam")[0][0] == pytest.approx(0.9)
    # gradient with decay 1.5; Nesterov adds momentum times it once more: 1 - 0.1 * 1.9 * 1.5
    assert first_steps("sgd", momentum=0.9, nesterov=True)[0][0] == pytest.approx(0.715)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_the_fused_kernel_takes_the_steps_of_the_plain_one(name: str) -> None:
    paths = []
    for clip in (None, 1e9):  # with a limit on the gradient the kernel is the plain one
        torch.manual_seed(0)
        weights = [Parameter(torch.randn(7, 5)), Parameter(torch.randn(3))]
        config = OptimiserConfig(name=name, lr=0.01, weight_decay=0.1, gradient_clip=clip)
        chosen = optimiser(config, {"cnn": weights})
        for _ in range(20):
            chosen.zero_grad()
            sum((weight**2).sum() + weight.sin().sum() for weight in weights).backward()
            chosen.step()
        paths.append(torch.cat([weight.detach().flatten() for weight in weights]))
    torch.testing.assert_close(*paths, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nesterov": True}, "nesterov is true, but name is 'adamw'"),
        ({"name": "sgd", "momentum": 0, "nesterov": True}, "momentum 0: it is for sgd with"),
        ({"warmup_steps": 5}, "schedule one-cycle has a rise of its own"),
    ],
)
def test_what_does_not_go_together_is_said(options: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        OptimiserConfig(**options)


def test_a_warm_up_longer_than_the_training_is_refused() -> None:
    with pytest.raises(ConfigError, match="warmup_steps is 6, but the whole training has 6 steps"):
        rates("constant", 6, warmup_steps=6)
