"""The field ``task``: what it changes in a configuration, what it refuses, and what it leaves."""

import pytest

from llm4seg_probe.config import Config, load_config, validated
from llm4seg_probe.errors import ConfigError
from llm4seg_probe.study.runs import identity
from llm4seg_probe.tasks import TASKS


def test_runs_from_before_keep_their_folders():
    softmax = Config(arm="cnn", training={"output": "softmax"})
    # As commit a172adf, which knew no tasks, made them.
    assert identity(Config(), "data")[:16] == "49cd8292f8028e25"
    assert identity(softmax, "x")[:16] == "5f276f0aef1c4046"
    other = [Config(task="classification"), Config(evaluation={"match_distance": 3.0})]
    assert len({identity(config, "data") for config in (Config(), *other)}) == 3


def test_dice_is_left_out_of_the_loss_of_what_has_no_masks():
    given = {"task": "classification", "training": {"epochs": 3}}
    config = validated(given, Config, "here")
    assert (config.training.dice_weight, config.training.epochs) == (0.0, 3)
    assert Config(task="detection").training.dice_weight == 0.0
    assert Config().training.dice_weight == 1.0
    again = Config.model_validate(config.model_dump(mode="json"))
    assert again == config


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"training": {"dice_weight": 1.0}}, "loss of overlap is for masks"),
        ({"training": {"tversky_weight": 0.5}}, "dice_weight and tversky_weight to 0"),
        ({"data": {"sampling": "patches"}}, "data.sampling is 'patches'"),
        (
            {"backbone": {"name": "dynunet-2d", "deep_supervision": True}},
            "backbone.deep_supervision is for masks",
        ),
        ({"task": "detection", "training": {"output": "softmax"}}, "set it to sigmoid"),
        ({"task": "regression"}, "segmentation"),
    ],
)
def test_what_does_not_fit_a_task_is_refused_in_one_line(tmp_path, values, said):
    path = tmp_path / "run.yaml"
    path.write_text(f"{ {'task': 'classification', **values} }".replace("'", '"').replace(
        "True", "true"))  # fmt: skip
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_every_task_says_what_it_asks():
    assert list(TASKS) == ["segmentation", "classification", "detection"]
    assert all(name == task.name and task.asks for name, task in TASKS.items())
