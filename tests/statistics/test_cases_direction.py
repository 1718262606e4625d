"""A better loss is not contradicted: the direction of a score is known, asked for, or an error."""

import pandas as pd
import pytest
from strangers import UNET, per_seed_csv, tell

from llm4seg_probe.errors import ConfigError
from llm4seg_probe.score_names import direction
from llm4seg_probe.scores import SCORES
from llm4seg_probe.statistics.audit import audit
from llm4seg_probe.statistics.compare import compare

LOWER = [
    "val_loss", "perplexity", "rmse", "mae", "brier", "wer", "error_rate", "hd95_mm", "HD95 (mm)",
    "test_loss", "valLoss", "Cross-Entropy", "NLL", "log loss", "ppl", "ASSD [mm]", "HD", "95% HD",
    "Hausdorff Distance 95", "MSE", "CER", "ECE", "top-1 error", "Dice loss", "loss_dice", "FPR",
    "false negative rate", "metrics.val_loss", "test/hd95", "Mean Surface Distance", "LPIPS", "EER",
]  # fmt: skip
HIGHER = [
    "mIoU", "Dice (%)", "test_dice", "mean_dice", "DSC", "F1-score", "Jaccard", "AUC", "accuracy",
    "top1_acc", "metrics.dice", "val/dice", "NSD", "psnr", "SSIM", "kappa", "BLEU", "R2", "gain",
    "Dice_liver", "IoU (class 1)", "Balanced Accuracy",
]  # fmt: skip


@pytest.mark.parametrize("name", LOWER)
@pytest.mark.parametrize("command", ["compare", "audit"])
def test_a_lower_loss_is_supported_under_any_name(tmp_path, name, command):
    better = [value - 0.05 for value in UNET]
    better[0] += 0.001
    told = tell(
        tmp_path, command, per_seed_csv(better, header=f"method,seed,{name}"), "--baseline", "unet"
    )
    assert told.code == 0, told.text
    assert told.row["verdict"] == "supported"
    assert told.row["difference"] < 0
    assert "a lower" in told.text


@pytest.mark.parametrize("name", HIGHER)
def test_a_higher_score_is_supported_under_any_name(name):
    assert direction(name).lower_is_better is False
    assert direction(name).how == "name"


@pytest.mark.parametrize("name", ["colour", "foo", "theta", "1 - dice", "neg_iou", "xyz_7"])
def test_a_score_that_is_not_known_is_asked_for(tmp_path, name):
    text = per_seed_csv(header=f"method,seed,{name}")
    for command in ("compare", "audit"):
        refused = tell(tmp_path, command, text, "--baseline", "unet", "--score", name)
        assert refused.code == 2
        assert "add --higher-is-better or --lower-is-better" in refused.text
        for option, verdict in (
            ("--higher-is-better", "supported"),
            ("--lower-is-better", "contradicted"),
        ):
            told = tell(tmp_path, command, text, "--baseline", "unet", "--score", name, option)
            assert told.row["verdict"] == verdict
            assert "as stated" in told.text


@pytest.mark.parametrize("name", ["score", "result", "metric", "average", "mean", "value"])
def test_a_guess_is_told_with_the_option_that_overrides_it(tmp_path, name):
    for command in ("compare", "audit"):
        told = tell(
            tmp_path, command, per_seed_csv(header=f"method,seed,{name}"), "--baseline", "unet"
        )
        assert told.row["verdict"] == "supported"
        assert (
            f"doubt: a higher {name} is taken to be better: --lower-is-better if not" in told.text
        )


def test_the_option_overrides_a_known_name(tmp_path):
    told = tell(tmp_path, "compare", per_seed_csv(), "--baseline", "unet", "--lower-is-better")
    assert told.row["verdict"] == "contradicted"


def test_python_has_the_same_rule():
    table = pd.DataFrame(
        {
            "arm": ["cnn"] * 3 + ["llm"] * 3,
            "seed": [0, 1, 2] * 2,
            "val_loss": [3, 3.1, 3.2, 2, 2.1, 2.3],
        }
    )
    assert compare(table, score="val_loss").iloc[0]["verdict"] == "supported"
    assert audit(table, lower_is_better=False).comparison.iloc[0]["verdict"] == "contradicted"
    with pytest.raises(ConfigError, match=r"is a higher or a lower 'thing' better\?"):
        compare(table.rename(columns={"val_loss": "thing"}), score="thing")


def test_every_registered_score_is_found_by_its_names():
    # Our entropy is of singular values, others' of probabilities; gaps and noise should be small.
    asked = {"entropy", "noise", "iou_gap", "loss_gap"}
    for score in SCORES.values():
        for name in {score.name, *score.synonyms} - asked:
            assert direction(name).lower_is_better == score.lower_is_better, name
