import pytest
import torch
from torch.nn import Parameter

from llm4seg_probe.config import OptimiserConfig
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


def rates(name: str, steps: int) -> list[float]:
    config = OptimiserConfig(name="sgd", lr=0.01, schedule=name)
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
