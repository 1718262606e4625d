from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from llm4seg_probe.config import Config, load_config, to_yaml, validated
from llm4seg_probe.errors import ConfigError


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def leaves(model: object) -> set[str]:
    values = OmegaConf.to_container(OmegaConf.create(model.model_dump(mode="json")))  # type: ignore[attr-defined]

    def walk(tree: dict, prefix: str) -> set[str]:
        found: set[str] = set()
        for key, value in tree.items():
            name = f"{prefix}{key}"
            found |= walk(value, f"{name}.") if isinstance(value, dict) else {name}
        return found

    return walk(values, "")  # type: ignore[arg-type]


def test_a_written_configuration_is_complete_and_reads_back(tmp_path: Path) -> None:
    config = Config(arm="transformer", seed=3)
    path = written(tmp_path, to_yaml(config))
    assert load_config(path) == config
    text = path.read_text()
    assert {name for name in leaves(config) if f"{name.split('.')[-1]}:" not in text} == set()


def test_overrides_change_single_fields(tmp_path: Path) -> None:
    path = written(tmp_path, "arm: cnn\ndata: {image_size: [64, 64]}\n")
    config = load_config(path, ("seed=4", "training.optimiser.lr=0.1", "booster.layer=[3,4]"))
    assert (config.arm, config.seed, config.training.optimiser.lr) == ("cnn", 4, 0.1)
    assert config.booster.layers == (3, 4)
    assert config.data.image_size == (64, 64)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sede: 3", r"run.yaml: sede: unknown field 'sede'. Did you mean 'seed'\?"),
        ("training: {epoch: 3}", r"training.epoch: unknown field 'epoch'. Did you mean 'epochs'\?"),
        ("arm: lllm", r"arm: unknown value 'lllm'. Did you mean 'llm'\?"),
        ("seed: -1", r"seed: Input should be greater than or equal to 0 \(it is -1\)"),
        ("data: {image_size: [8, 8]}", r"image_size is \[8, 8\]: give 2 or 3 numbers"),
        (
            "data: {augmentation: mlid}",
            r"data.augmentation: unknown value 'mlid'. Did you mean 'mild",
        ),
        (
            "data: {augmentation: [{nam: RandFlipd}]}",
            r"augmentation.0.nam: unknown field 'nam'. Did you mean 'name'\?",
        ),
        ("- a\n- b", "holds a list"),
        ("a: [", "not a readable configuration"),
        ("seed: !!python/object/apply:os.getcwd []", "not a readable configuration"),
        ("seed: ${oc.env:HOME}", "seed: Input should be a valid integer"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        load_config(written(tmp_path, text))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("number", ["1:30", "010", "-1:00:00", "0_17", "+007", "!!int '010'"])
def test_a_number_that_readers_of_yaml_disagree_on_is_refused(tmp_path: Path, number: str) -> None:
    path = written(tmp_path, f"arm: cnn\ntraining:\n  batch_size: {number}\n")
    with pytest.raises(ConfigError) as refused:
        load_config(path)
    told = str(refused.value)
    assert told.startswith(f"{path} is not a readable configuration (")
    assert "is another number to each reader of YAML: write it without a 0 in front" in told
    assert "line 3, column" in told
    assert "\n" not in told
    with pytest.raises(ConfigError, match="another number to each reader"):
        load_config(written(tmp_path, "arm: cnn"), (f"training.batch_size={number}",))


def test_numbers_and_text_that_only_look_like_those_stay(tmp_path: Path) -> None:
    text = (
        "seed: 0\ntraining: {epochs: 1_0, batch_size: 0x10}\ndata: {name: '010', split: \"1:30\"}\n"
    )
    config = load_config(written(tmp_path, text))
    assert (config.seed, config.training.epochs, config.training.batch_size) == (0, 10, 16)
    assert (config.data.name, config.data.split) == ("010", "1:30")
    assert load_config(written(tmp_path, to_yaml(config))) == config


@pytest.mark.parametrize("text", ["", "\n\n", "# arm: cnn\n", "{}", "---\n"])
def test_a_file_without_a_field_is_refused(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text)
    for overrides in ((), ("seed=3",)):
        with pytest.raises(ConfigError) as refused:
            load_config(path, overrides)
        assert str(refused.value) == (
            f"{path}: gives no field, so every one would have its default: write one into it, "
            "such as 'arm: llm'"
        )


@pytest.mark.parametrize(
    "field", ["training..epochs", ".seed", "seed.", "training[", "a[]", "a[0", "a]", "a[0]b", "[0]"]
)
def test_an_override_whose_field_is_no_name_is_refused(tmp_path: Path, field: str) -> None:
    with pytest.raises(ConfigError, match=r"is no name of a field; write one dot between names"):
        load_config(written(tmp_path, "arm: cnn"), (f"{field}=1",))


def test_a_missing_file_and_a_bad_override_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file: .*none\.yaml"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="'seed' is not an override: write key=value"):
        load_config(written(tmp_path, "arm: cnn"), ("seed",))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"data": {"label_noise": 0.5}}, "label_noise is for masks, but task is 'classification'"),
        ({"data": {"sampling": "patches"}}, "whose answer is of the whole image: set it to whole"),
        ({"training": {"dice_weight": 1.0}}, "set training.dice_weight and tversky_weight to 0"),
    ],
)
def test_what_is_for_masks_is_refused_where_images_have_labels(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        validated({"task": "classification", **fields}, Config, "run.yaml")
