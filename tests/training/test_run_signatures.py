import numpy as np
import pandas as pd
import pytest

from llm4seg_probe import tables
from llm4seg_probe.config import Config, to_yaml
from llm4seg_probe.training.result_checks import after_training, growing_gap, no_gain


def metrics(gaps, val_losses):
    epochs = len(gaps)
    return pd.DataFrame(
        {
            "epoch": range(epochs),
            "learning_rate": 0.01,
            "train_loss": np.linspace(1, 0.1, epochs),
            "train_iou": 0.6 + np.array(gaps),
            "val_loss": val_losses,
            "val_iou": 0.6,
        }
    )


GROWING = metrics(np.linspace(0, 0.3, 9), np.linspace(0.5, 0.6, 9))


def test_a_growing_gap_is_told_with_its_numbers():
    (sentence,) = growing_gap(GROWING, Config(arm="llm"))
    assert "the gap in IoU grew from 0.150 to 0.263" in sentence  # means of epochs 4-6, 7-9
    shuffled = GROWING.sample(frac=1, random_state=1)
    assert growing_gap(shuffled, Config(arm="llm")) == [sentence]


@pytest.mark.parametrize(
    ("arm", "advice"),
    [
        ("llm", "Raise training.optimiser.adapters_weight_decay (it is that of the CNN, 0.0001)"),
        ("adapters", "Raise training.optimiser.adapters_weight_decay"),
        ("llm-trainable", "Freeze the layer (arm: llm), or raise training.optimiser.adapters_"),
        ("transformer", "Freeze the layer (arm: random-frozen), or raise training.optimiser."),
        ("cnn", "Raise training.optimiser.weight_decay (it is 0.0001)"),
    ],
)
def test_what_to_change_depends_on_what_is_trained(arm, advice):
    (sentence,) = growing_gap(GROWING, Config(arm=arm))
    assert advice in sentence


@pytest.mark.parametrize(
    "fine",
    [
        metrics(np.linspace(0, 0.3, 9), np.linspace(0.6, 0.5, 9)),  # validation still gains
        metrics([0.3] * 9, np.linspace(0.5, 0.6, 9)),  # a gap, but not a growing one
        metrics(np.linspace(0.3, 0, 9), np.linspace(0.5, 0.6, 9)),
        GROWING.head(5),  # too few epochs to tell
    ],
)
def test_no_growing_gap_is_told_where_there_is_none(fine):
    assert growing_gap(fine, Config(arm="llm")) == []


def test_a_run_folder_is_enough(tmp_path):
    tables.write_table(GROWING, tmp_path / "metrics.csv", tables.METRICS)
    config = Config(arm="llm", training={"optimiser": {"adapters_weight_decay": 0.02}})
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    (sentence,) = after_training(tmp_path)
    assert "adapters_weight_decay (it is 0.02)" in sentence


def scores(**by_arm):
    rows = [
        {
            "dataset": "d",
            "arm": arm,
            "seed": seed,
            "checkpoint": checkpoint,
            "split": split,
            "image": image,
            "class": "a",
            "iou": value if (checkpoint, split) == ("best", "test") else 0.0,
        }
        for arm, values in by_arm.items()
        for (seed, image), value in values.items()
        for checkpoint in ("best", "last")
        for split in ("val", "test")
    ]
    return pd.DataFrame(rows)


CNN = {(0, "x"): 0.6, (0, "y"): 0.8, (1, "x"): 0.7, (1, "y"): 0.7}
WORSE = {(0, "x"): 0.61, (0, "y"): 0.7, (1, "x"): 0.6, (1, "y"): 0.69}


def test_an_arm_without_a_gain_is_told_what_to_try():
    configs = {arm: Config(arm=arm) for arm in ("cnn", "llm")}
    (sentence,) = no_gain(scores(cnn=CNN, llm=WORSE), configs)
    assert "llm is no better than cnn: mean IoU 0.6500 against 0.7000 over 2 seeds" in sentence
    assert "training.optimiser.adapters_lr (it is that of the CNN, 0.004)" in sentence
    assert "a deeper booster.layer (it is 15)" in sentence


def test_a_layer_of_random_weights_is_not_sent_deeper():
    configs = {"random-frozen": Config(arm="random-frozen", training={"optimiser": {"lr": 0.1}})}
    (sentence,) = no_gain(scores(cnn=CNN, **{"random-frozen": WORSE}), configs)
    assert "adapters_lr (it is that of the CNN, 0.1)" in sentence
    assert "deeper" not in sentence


def test_a_gain_is_no_sign_of_failure():
    configs = {arm: Config(arm=arm) for arm in ("cnn", "llm")}
    assert no_gain(scores(cnn=WORSE, llm=CNN), configs) == []


def test_only_what_both_were_scored_on_is_compared():
    configs = {"llm": Config(arm="llm")}
    lucky = {(0, "x"): 0.61, (7, "x"): 0.1}  # of seed 7 there is no baseline
    assert no_gain(scores(cnn=CNN, llm=lucky), configs) == []
    assert no_gain(scores(llm=lucky), configs) == []
