from pathlib import Path

import pytest
from typer.testing import CliRunner

from llm4seg_probe.cli.app import app
from llm4seg_probe.config import Config, load_config, to_yaml
from llm4seg_probe.errors import ConfigError
from llm4seg_probe.presets import preset_path, presets


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_reference_is_the_published_recipe(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, "preset: reference\n"))
    data, training, optimiser = config.data, config.training, config.training.optimiser
    assert config.seed == 41
    assert (data.image_size, data.channels, data.split) == ((256, 256), 3, "reference")
    assert data.normalisation == data.augmentation == "reference"
    assert (config.backbone.name, config.backbone.widths) == ("cmunext", None)
    booster = config.booster
    assert (booster.layer, booster.attention, booster.position) == (15, "reference", "reference")
    assert (booster.residual, booster.final_norm, booster.init) == (False, False, "reference")
    assert (training.epochs, training.batch_size, training.output) == (300, 8, "sigmoid")
    assert (training.cross_entropy_weight, training.dice_weight) == (0.5, 1.0)
    assert (training.focal_weight, training.tversky_weight) == (0, 0)
    assert (optimiser.name, optimiser.lr, optimiser.momentum) == ("sgd", 0.01, 0.9)
    assert (optimiser.weight_decay, optimiser.schedule, optimiser.power) == (
        1e-4, "polynomial", 0.9,
    )  # fmt: skip
    assert not optimiser.nesterov
    assert optimiser.gradient_clip is None


def test_the_file_and_overrides_lie_on_top_of_the_preset(tmp_path: Path) -> None:
    text = "preset: nnunet-like\narm: cnn\ntraining: {optimiser: {lr: 0.5}, epochs: 7}\n"
    path = written(tmp_path, text)
    config = load_config(path, ("training.epochs=3", "data.augmentation=mild"))
    assert (config.arm, config.training.epochs, config.data.augmentation) == ("cnn", 3, "mild")
    optimiser = config.training.optimiser
    assert (optimiser.lr, optimiser.momentum, optimiser.nesterov) == (0.5, 0.99, True)
    assert config.training.output == "softmax"
    again = load_config(path, ("preset=quick",))
    assert (again.training.epochs, again.training.output) == (7, "sigmoid")
    assert again.backbone.widths == (8, 16, 32, 64, 96)


@pytest.mark.parametrize("name", presets())
def test_a_preset_is_valid_and_a_run_s_own_file_is_complete_without_it(
    name: str, tmp_path: Path
) -> None:
    config = load_config(preset_path(name))
    assert load_config(written(tmp_path, f"preset: {name}\n")) == config != Config()
    text = to_yaml(config)
    assert "preset" not in text
    assert load_config(written(tmp_path, text)) == config


@pytest.mark.parametrize("name", ["quik", "[quick]", "../quick"])
def test_an_unknown_preset_is_said_with_the_nearest(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"run\.yaml: preset: unknown preset .*quick"):
        load_config(written(tmp_path, f"preset: {name}\n"))


def test_presets_are_listed_with_a_line_each() -> None:
    result = CliRunner().invoke(app, ["list", "presets"])
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["nnunet-like", "quick", "reference"]
    assert all(len(line.split()) > 5 and "#" not in line for line in lines)
