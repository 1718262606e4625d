"""The optimism of choosing the epoch on the reported images, by arm and as a share of the gain."""

import itertools

import pandas as pd
import pytest
from scipy import stats

from llm4seg_probe.config import validated
from llm4seg_probe.statistics.claims import Claim
from llm4seg_probe.statistics.epoch_choice import CORNERS, PUBLISHED_GAINS, selection
from llm4seg_probe.statistics.judgement import judge
from llm4seg_probe.study.analysis import analyses_folder, load_analysis
from llm4seg_probe.tables import SELECTION


@pytest.fixture
def scores(study):
    parts = []
    for number, (split, checkpoint) in enumerate(
        itertools.product(["val", "test"], ["best", "last"])
    ):
        flattered = 0.1 * (split == "val" and checkpoint == "best")
        part = study({"cnn": flattered, "llm": 1.5 * flattered}, seed=number, cases=8,
                     split=split, checkpoint=checkpoint)  # fmt: skip
        parts.append(part.assign(image=split + part["image"]))
    return pd.concat(parts, ignore_index=True)


def optimism(scores, arm):
    rows = scores[scores["arm"] == arm]
    means = rows.groupby(["split", "checkpoint", "seed"])["iou"].mean()
    return sum(weight * means[corner] for corner, weight in CORNERS.items())


def test_optimism_is_the_contrast_of_run_means_with_its_t_interval(scores):
    found = selection(scores).set_index(["arm", "against"])
    assert list(selection(scores).columns) == list(SELECTION.columns)
    for arm in ("cnn", "llm"):
        theirs = stats.ttest_1samp(optimism(scores, arm), 0.0)
        row = found.loc[(arm, "")]
        assert row["optimism"] == pytest.approx(optimism(scores, arm).mean(), rel=1e-9)
        low, high = theirs.confidence_interval(0.95)
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((low, high), rel=1e-9)
        assert row["p"] == pytest.approx(theirs.pvalue, rel=1e-9)
    against = optimism(scores, "llm") - optimism(scores, "cnn")
    row = found.loc[("llm", "cnn")]
    assert row["optimism"] == pytest.approx(against.mean(), rel=1e-9)
    assert row["p"] == pytest.approx(stats.ttest_1samp(against, 0.0).pvalue, rel=1e-9)


def test_the_shipped_claim_resolves_to_the_same_contrast(scores):
    [claim] = load_analysis(analyses_folder() / "selection.yaml").claims
    comparison, claims = judge([claim], {"scores": scores})
    assert claims["verdict"][0] != "not run"
    for arm, difference in zip(("cnn", "llm"), comparison["difference"], strict=True):
        assert difference == pytest.approx(optimism(scores, arm).mean(), rel=1e-9)


def test_the_sentence_gives_the_share_of_the_published_gains(scores):
    found = selection(scores).set_index(["arm", "against"])["sentence"]
    mean = optimism(scores, "cnn").mean()
    shares = [100 * mean / gain for gain in PUBLISHED_GAINS.values()]
    assert found["cnn", ""].startswith(f"Choosing the epoch flatters cnn by {mean:.3g} in iou (95 ")
    assert found["cnn", ""].endswith(
        f"which is {shares[0]:.0f} % of 0.81 points (LLaMA, 15th layer) and {shares[1]:.0f} % of "
        "0.45 points (DeepSeek, 28th layer), the published gains."
    )
    assert "more than cnn" in found["llm", "cnn"]


def test_no_optimism_explains_nothing(scores):
    same = scores.assign(iou=0.5)
    sentences = selection(same)["sentence"]
    assert sentences[0] == (
        "Choosing the epoch flatters cnn by nothing in iou (5 seeds): none of the published gains."
    )
    assert sentences[2].startswith(
        "Choosing the epoch flatters llm by nothing more than cnn in iou"
    )
    assert selection(same)["ci_low"].isna().all()


def test_a_share_that_may_as_well_be_none_says_so(scores):
    noisy = scores.copy()
    at = (noisy["split"] == "val") & (noisy["checkpoint"] == "best")
    noisy.loc[at, "iou"] += noisy.loc[at, "seed"].map({0: 0.3, 1: -0.3, 2: 0.2, 3: -0.2, 4: 0.1})
    assert selection(noisy)["sentence"][0].endswith("the published gains; it may as well be none.")
    worse = scores.copy()
    worse.loc[at, "iou"] -= 0.2
    assert selection(worse)["sentence"][0].endswith("seeds): none of the published gains.")
    assert "flatters cnn by -0.1" in selection(worse)["sentence"][0]


def test_one_seed_and_another_score_say_no_more_than_they_can(scores):
    one = selection(scores[scores["seed"] == 0].rename(columns={"iou": "dice"}), score="dice")
    assert one["sentence"][0].endswith("in dice (one seed).")


def test_without_both_checkpoints_there_is_no_optimism(scores):
    assert selection(scores[scores["checkpoint"] == "best"]).empty
    part = scores[(scores["arm"] == "cnn") | (scores["split"] == "test")]
    assert list(selection(part)["arm"]) == ["cnn"]


def test_claims_and_table_need_the_same_words():
    claim = {"id": "x", "statement": "s", "comparisons": [{"a": "llm", "b": "cnn"}],
             "table": "curves", "score": "iou_gap", "margin": 0.01}  # fmt: skip
    assert validated(claim, Claim, "x").measure == "iou_gap of curves.csv"
