"""The gap between training and validation, at the checkpoints of each run."""

import pandas as pd
import pytest

from llm4seg_probe.statistics.epoch_choice import at_checkpoints, with_gaps
from llm4seg_probe.statistics.judgement import judge
from llm4seg_probe.study.analysis import analyses_folder, load_analysis
from llm4seg_probe.tables import CURVES, conform
from llm4seg_probe.training.loop import best_epoch


def curves(**runs):
    """curves(llm_0=[(train, val), …]): IoU by epoch of each run; losses are 1 − IoU."""
    rows = [
        {"run": name, "dataset": "spine", "arm": name.rsplit("_", 1)[0].replace("_", "-"),
         "seed": int(name[-1]), "epoch": epoch, "learning_rate": 0.1, "train_loss": 1 - train,
         "train_iou": train, "val_loss": 1 - val, "val_iou": val}
        for name, ious in runs.items() for epoch, (train, val) in enumerate(ious)
    ]  # fmt: skip
    return conform(with_gaps(pd.DataFrame(rows)), CURVES)


def test_gaps_are_larger_the_more_training_flatters():
    table = curves(llm_0=[(0.5, 0.4), (0.8, 0.6)])
    assert list(table["iou_gap"]) == pytest.approx([0.1, 0.2])
    assert list(table["loss_gap"]) == pytest.approx([0.1, 0.2])


def test_the_chosen_epoch_is_the_first_of_the_best_and_may_be_the_last():
    runs = {
        "a_0": [(0.5, 0.4), (0.6, 0.6), (0.8, 0.6), (0.9, 0.5)],
        "a_1": [(0.5, 0.4), (0.7, 0.7)],
    }
    table = curves(**runs).sample(frac=1, random_state=0)
    found = at_checkpoints(table).set_index(["run", "checkpoint"])["train_iou"]
    assert found.to_dict() == {
        ("a_0", "last"): 0.9, ("a_1", "last"): 0.7, ("a_0", "best"): 0.6, ("a_1", "best"): 0.7,
    }  # fmt: skip
    for name, ious in runs.items():
        chosen = best_epoch([{"val_iou": val} for _, val in ious])
        assert found[name, "best"] == ious[chosen][0]


def test_the_shipped_claim_holds_where_the_frozen_layer_has_the_smaller_gap():
    noise = [0.0, 0.01, 0.02]
    table = curves(
        **{f"llm_{s}": [(0.5, 0.5), (0.7, 0.65 + n)] for s, n in enumerate(noise)},
        **{f"llm_trainable_{s}": [(0.5, 0.5)] * s + [(0.8, 0.6 + n / 2)]
           for s, n in enumerate(noise)},
    )  # fmt: skip
    [claim] = load_analysis(analyses_folder() / "overfit.yaml").claims
    comparison, claims = judge([claim], {"curves": table})
    assert comparison["difference"][0] == pytest.approx(0.05 - 0.2 - 0.005)
    assert claims["verdict"][0] == "supported"
    assert claims["comparison"][0] == "llm < llm-trainable"
    assert claims["sentence"][0].startswith(
        "Supported: llm has a lower iou_gap than llm-trainable: "
    )
