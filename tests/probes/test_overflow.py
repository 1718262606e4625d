"""Weights that are finite, and so large that the network's answers are not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from commands import invoke, refused

import llm4seg_probe as lp
from llm4seg_probe.config import Config
from llm4seg_probe.errors import CheckpointError
from llm4seg_probe.models.heads import why_no_numbers
from llm4seg_probe.models.sites import sites_of
from llm4seg_probe.probes import registry


@pytest.fixture(scope="module")
def huge(trained: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of two arms whose weights were multiplied, and are still finite."""
    folder = tmp_path_factory.mktemp("huge")
    found = {}
    for name in ("llm-0", "cnn-0"):
        content = torch.load(trained[name], weights_only=True)
        for tensor in content["state"].values():
            if tensor.is_floating_point():
                tensor.mul_(1e38).clamp_(-3e38, 3e38)
                assert tensor.isfinite().all()
        found[name] = folder / name / "run.pt"
        found[name].parent.mkdir()
        torch.save(content, found[name])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", [probe.name for probe in registry.PROBES])
def test_every_probe_refuses_a_run_that_gives_no_finite_numbers(
    name: str, huge: dict[str, Path], tmp_path: Path
) -> None:
    told = refused(name, "--ckpt", huge["llm-0"], "--ckpt", huge["cnn-0"], "--out", tmp_path / "o")
    assert "gives no finite numbers for any image" in told
    assert any(f"{path}: run {arm} " in told for arm, path in huge.items()), told
    assert not (tmp_path / "o").exists()


@pytest.mark.slow
def test_evaluate_and_predict_say_so_in_one_line(
    huge: dict[str, Path], tiny_data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o"
    told = refused("evaluate", "--ckpt", huge["llm-0"], "--out", out)
    assert f"{huge['llm-0']}: run llm-0 gives no finite numbers for any image (its answer:" in told
    image = tiny_data / "images" / "disc00.png"
    told = refused("predict", "--images", image, "--ckpt", huge["llm-0"], "--out", out)
    assert "disc00.png: run llm-0 gives no numbers (" in told
    assert not list(out.rglob("*.*"))


@pytest.mark.slow
def test_features_whose_squares_are_infinite_are_no_numbers(trained: dict[str, Path]) -> None:
    run = lp.load(trained["llm-0"])
    booster = run.network.get_submodule(sites_of(run.network)["before"].module)
    # What is added or normalised behind them may bring the answer back: they are looked at too.
    booster.register_forward_pre_hook(lambda _, inputs: (inputs[0] * 1e25, *inputs[1:]))
    booster.register_forward_hook(lambda _, inputs, output: torch.zeros_like(output))
    with pytest.raises(CheckpointError, match="its features at before: infinite"):
        lp.rank(run)


@pytest.mark.slow
def test_an_image_without_numbers_among_others_is_said(
    trained: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    run = lp.load(trained["cnn-0"])
    calls = [0]

    def sometimes(module, inputs, answer):
        calls[0] += 1
        return answer * torch.nan if calls[0] == 2 else answer

    run.network.register_forward_hook(sometimes)
    lp.rank(run)
    assert "run cnn-0: the network gives no finite numbers in 1 of " in capfd.readouterr().err


def test_a_class_that_is_ruled_out_is_a_number() -> None:
    softmax = Config.model_validate({"training": {"output": "softmax"}})
    logits = torch.tensor([0.0, -torch.inf]).reshape(1, 2, 1, 1)
    assert why_no_numbers(logits, softmax) == ""
    assert why_no_numbers(-logits, softmax) == "NaN"
    assert why_no_numbers(logits, Config()) == "infinite"


@pytest.mark.slow
def test_runs_that_give_numbers_are_probed_as_before(trained: dict[str, Path]) -> None:
    result = invoke("rank", "--ckpt", trained["cnn-0"], "--out", trained["cnn-0"].parent / "rank")
    assert result.exit_code == 0, result.output
    assert "no finite numbers" not in result.stderr
