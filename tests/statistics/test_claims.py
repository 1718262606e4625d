"""Claims: from an analysis file to verdicts."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from stated import claim, pairs

from llm4seg_probe.errors import TableError
from llm4seg_probe.statistics.compare import compare
from llm4seg_probe.statistics.judgement import judge
from llm4seg_probe.tables import CLAIMS, COMPARISON


@pytest.fixture
def maps(study):
    parts = []
    for number, site in enumerate(("before", "after")):
        gain = {"transformer": 0.01 * number, "llm": 0.04 * number}
        parts.append(study(gain, seed=number, cases=8, site=site, null=""))
    return pd.concat([*parts, parts[0].assign(null="shuffled", iou=0.5)])


def test_the_tables_conform_and_a_claim_says_what_compare_says(scores):
    comparison, claims = judge([claim()], {"scores": scores})
    assert list(comparison.columns[: len(COMPARISON.columns)]) == list(COMPARISON.columns)
    assert list(claims.columns[: len(CLAIMS.columns)]) == list(CLAIMS.columns)
    expected = compare(scores, pairs=[("llm", "cnn")])
    shared = list(COMPARISON.columns)
    pd.testing.assert_frame_equal(comparison[shared], expected[shared])
    found = claims.iloc[0]
    assert found["verdict"] == expected["verdict"][0] == "supported"
    assert found["difference"] == expected["difference"][0]
    assert found["measure"] == "iou of scores.csv"
    assert found["comparison"] == "llm > cnn"
    assert found["sentence"] == expected["sentence"][0]
    assert found["decided_by"] == "llm against cnn"


def test_claims_without_tables_or_claims_give_empty_tables():
    comparison, claims = judge([], {})
    assert len(comparison) == len(claims) == 0
    assert list(claims.columns) == list(CLAIMS.columns)


def test_the_largest_p_decides_a_claim_of_several_comparisons(scores):
    both = claim(comparisons=pairs(("llm", "cnn"), ("llm", "transformer")))
    comparison, claims = judge([both], {"scores": scores})
    weakest = comparison["p_t"].idxmax()
    found = claims.iloc[0]
    assert found["decided_by"] == f"llm against {comparison['b'][weakest]}"
    assert found["p_adjusted"] == pytest.approx(comparison["p_t"][weakest])
    assert found["sentence"].endswith(" The weakest of 2 comparisons decides.")
    assert list(comparison["claim"]) == ["boost", "boost"]


def test_one_comparison_the_other_way_contradicts_the_whole(scores):
    both = claim(comparisons=pairs(("transformer", "cnn"), ("transformer", "llm")))
    comparison, claims = judge([both], {"scores": scores})
    against = comparison.set_index("b").loc["llm"]
    assert against["verdict"] == "contradicted"
    found = claims.iloc[0]
    assert found["verdict"] == "contradicted"
    assert found["p_adjusted"] == pytest.approx(2 * against["p_t"])
    assert found["difference"] == against["difference"]


def test_holm_runs_over_a_family_and_nothing_else(scores):
    three = [
        claim(id="boost", family="primary"),
        claim(id="pretraining", family="primary", comparisons=pairs(("llm", "transformer"))),
        claim(id="parameters", comparisons=pairs(("llm", "adapters"))),
    ]
    comparison, claims = judge(three, {"scores": scores})
    p = comparison["p_t"].to_numpy()
    first, second = sorted(p[:2])
    expected = {first: 2 * first, second: max(2 * first, second)}
    assert list(claims["p_adjusted"]) == pytest.approx([expected[p[0]], expected[p[1]], p[2]])
    assert list(comparison["p_adjusted"]) == pytest.approx(list(claims["p_adjusted"]))
    assert list(claims["family"]) == ["primary", "primary", "parameters"]


def test_a_claim_that_was_not_run_stays_in_its_family(scores):
    two = [
        claim(family="primary"),
        claim(id="pretraining", family="primary", comparisons=pairs(("llm", "shuffled-frozen"))),
    ]
    comparison, claims = judge(two, {"scores": scores})
    assert claims["p_adjusted"][0] == pytest.approx(2 * comparison["p_t"][0])
    assert claims["verdict"][1] == "not run"
    assert claims["reason"][1] == (
        "no runs of shuffled-frozen (there are cnn, adapters, transformer, llm)"
    )
    assert claims["sentence"][1] == f"Not run: {claims['reason'][1]}."
    assert np.isnan(claims["p_adjusted"][1])


def test_a_claim_that_lacks_one_arm_keeps_the_comparison_that_was_made(scores):
    both = claim(comparisons=pairs(("llm", "cnn"), ("llm", "mlp")))
    comparison, claims = judge([both], {"scores": scores})
    assert list(comparison["b"]) == ["cnn"]
    assert claims["verdict"][0] == "not run"
    assert claims["n_seeds"][0] == 5


@pytest.mark.parametrize("found", [{}, {"rank": pd.DataFrame()}])
def test_a_missing_table_is_a_claim_not_run(found):
    _, claims = judge([claim(table="rank", score="effective_rank")], found)
    assert (claims["verdict"][0], claims["reason"][0]) == ("not run", "there is no rank.csv")


def test_one_seed_is_not_run_and_keeps_what_can_be_said_over_cases(study):
    _, claims = judge([claim()], {"scores": study(seeds=1)})
    found = claims.iloc[0]
    assert (found["verdict"], found["n_seeds"]) == ("not run", 1)
    assert found["reason"] == "one seed of llm and cnn cannot show this"
    assert found["case_low"] < found["difference"] < found["case_high"]


def test_sites_and_contrasts_of_sites(maps):
    cleaned = claim(
        id="maps",
        table="maps",
        where={"null": ""},
        comparisons=pairs(
            ("llm@after", "llm@before"),
            ("llm@after - llm@before", "transformer@after - transformer@before"),
        ),
        margin=0.01,
    )
    comparison, claims = judge([cleaned], {"maps": maps})
    real = maps[maps["null"] == ""]
    means = real.groupby(["arm", "site", "seed"])["iou"].mean().unstack("seed")
    gain = {
        arm: means.loc[arm, "after"] - means.loc[arm, "before"] for arm in ("llm", "transformer")
    }
    theirs = stats.ttest_rel(gain["llm"], gain["transformer"])
    assert comparison["t"][1] == pytest.approx(theirs.statistic, rel=1e-9)
    assert comparison["mean_a"][1] == pytest.approx(gain["llm"].mean(), rel=1e-9)
    assert comparison["difference"][0] == pytest.approx(gain["llm"].mean(), rel=1e-9)
    assert list(comparison["a"]) == ["llm@after", "llm@after - llm@before"]
    assert claims["measure"][0] == "iou of maps.csv where null=empty"
    assert claims["comparison"][0] == (
        "llm@after > llm@before and llm@after - llm@before > transformer@after - transformer@before"
    )


def test_conditions_select_by_the_columns_of_runs(study):
    layers = [
        study({"llm": effect}, seed=n, cases=8).assign(run=lambda t, n=n: t["run"] + f"-{n}")
        for n, effect in ((10, 0.03), (15, 0.0))
    ]
    scores = pd.concat([*layers, study({"cnn": 0.0}, seed=1, cases=8)])
    runs = scores[["run"]].drop_duplicates()
    runs["layer"] = runs["run"].str.extract(r"-(\d+)$")[0].where(runs["run"].str.count("-") > 1, "")
    runs["wall_seconds"] = range(len(runs))
    deep = claim(comparisons=pairs(("llm[layer=10]", "llm[layer=15]")))
    comparison, _ = judge([deep], {"scores": scores, "runs": runs})
    assert comparison["difference"][0] == pytest.approx(
        layers[0]["iou"].mean() - layers[1]["iou"].mean(), rel=1e-9
    )
    with pytest.raises(TableError, match=r"claim 'boost': 2 rows for .*layer \(10, 15\)"):
        judge([claim()], {"scores": scores, "runs": runs})


def test_a_contrast_of_splits_compares_the_means_of_runs(study):
    parts = {
        (checkpoint, split): study(
            {"llm": 0.01 * n}, seed=n, cases=5 + n % 2, checkpoint=checkpoint, split=split
        ).assign(image=lambda t, split=split: split + t["image"])
        for n, (checkpoint, split) in enumerate(
            [("best", "val"), ("best", "test"), ("last", "val"), ("last", "test")]
        )
    }
    optimism = claim(
        comparisons=pairs(
            (
                "llm[checkpoint=best,split=val] - llm[checkpoint=last,split=val]",
                "llm[checkpoint=best,split=test] - llm[checkpoint=last,split=test]",
            )
        )
    )
    comparison, _ = judge([optimism], {"scores": pd.concat(parts.values())})
    means = {key: part.groupby("seed")["iou"].mean() for key, part in parts.items()}
    expected = (means["best", "val"] - means["last", "val"]) - (
        means["best", "test"] - means["last", "test"]
    )
    assert comparison["difference"][0] == pytest.approx(expected.mean(), rel=1e-9)
    assert comparison["sd_difference"][0] == pytest.approx(expected.std(), rel=1e-9)
    assert pd.isna(comparison["n_cases"][0])


def test_images_of_two_data_sets_are_not_the_same_for_having_the_same_name(study):
    context, texture = (
        study({"cnn": 0.0, "llm": effect}, seed=n, cases=6, per_group=1).assign(dataset=name)
        for n, (name, effect) in enumerate([("context", 0.03), ("texture", 0.0)])
    )
    gain = claim(
        comparisons=pairs(
            (
                "llm[dataset=context] - cnn[dataset=context]",
                "llm[dataset=texture] - cnn[dataset=texture]",
            )
        )
    )
    comparison, _ = judge([gain], {"scores": pd.concat([context, texture])})
    means = [part.groupby("arm")["iou"].mean() for part in (context, texture)]
    expected = (means[0]["llm"] - means[0]["cnn"]) - (means[1]["llm"] - means[1]["cnn"])
    assert comparison["difference"][0] == pytest.approx(expected, rel=1e-9)
    assert comparison["dataset"][0] == "context+texture"
    assert pd.isna(comparison["n_cases"][0])


def test_a_contrast_of_splits_needs_every_case_in_every_run(study):
    table = pd.concat(
        [study({"llm": 0.0}, seed=n, split=split).assign(image=lambda t, s=split: s + t["image"])
         for n, split in enumerate(["val", "test"])], ignore_index=True
    )  # fmt: skip
    table.loc[3, "iou"] = np.nan
    gap = claim(comparisons=pairs(("llm[split=val]", "llm[split=test]")))
    with pytest.raises(TableError, match="some cases have a score in some runs only, so the"):
        judge([gap], {"scores": table})


def test_means_of_several_arms(scores):
    blend = claim(comparisons=pairs(("mean(transformer, llm)", "cnn")))
    comparison, _ = judge([blend], {"scores": scores})
    means = scores.groupby("arm")["iou"].mean()
    expected = (means["transformer"] + means["llm"]) / 2 - means["cnn"]
    assert comparison["difference"][0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("kind", "b", "margin", "verdict", "begins"),
    [
        ("superiority", "cnn", 0.005, "supported", "Supported: llm has a higher iou than cnn: "),
        ("non-inferiority", "cnn", 0.005, "supported",
         "Supported: llm is not worse than cnn by 0.005: "),
        ("equivalence", "cnn", 0.1, "supported",
         "Equivalent: llm and cnn differ in iou by less than 0.1 (p = "),
        ("equivalence", "cnn", 0.005, "contradicted",
         "Contradicted: llm and cnn differ by more than 0.005: "),
    ],
)  # fmt: skip
def test_each_kind_of_claim_has_its_sentence(scores, kind, b, margin, verdict, begins):
    _, claims = judge(
        [claim(kind=kind, comparisons=pairs(("llm", b)), margin=margin)], {"scores": scores}
    )
    assert claims["verdict"][0] == verdict
    assert claims["sentence"][0].startswith(begins)


def test_the_sentence_says_of_what_its_p_is(scores):
    apart = claim(kind="equivalence", comparisons=pairs(("llm", "cnn")))
    _, claims = judge([apart], {"scores": scores})
    assert f"), p of equivalence = {claims['p_adjusted'][0]:.2g}" in claims["sentence"][0]


def test_an_inferior_arm_contradicts_non_inferiority(scores):
    worse = claim(kind="non-inferiority", comparisons=pairs(("cnn", "llm")))
    comparison, claims = judge([worse], {"scores": scores})
    assert claims["verdict"][0] == comparison["verdict"][0] == "contradicted"
    assert claims["p_adjusted"][0] == comparison["p_adjusted"][0] > 0.9
    assert claims["sentence"][0].startswith("Contradicted: cnn is worse than llm by 0.005: -0.0")
    assert claims["comparison"][0] == "cnn not worse (>) than llm"


def test_a_lower_score_can_be_the_claim(study):
    table = study({"cnn": 5.0, "llm": 0.0}, score="hd95")
    _, claims = judge([claim(score="hd95", margin=0.5)], {"scores": table})
    assert (claims["verdict"][0], claims["comparison"][0]) == ("supported", "llm < cnn")


def test_classes_are_averaged_within_an_image_unless_told_otherwise(study):
    table = pd.concat([study(seed=n, **{"class": name}) for n, name in enumerate("ab")])
    comparison, _ = judge([claim()], {"scores": table})
    means = table.groupby("arm")["iou"].mean()
    assert comparison["difference"][0] == pytest.approx(means["llm"] - means["cnn"], rel=1e-9)
    with pytest.raises(TableError, match=r"several values of class \(a, b\)"):
        judge([claim(average_over=[])], {"scores": table})


def test_what_was_decided_in_advance_is_told_apart(scores):
    _, claims = judge([claim(), claim(id="b", score="dice", in_advance=False)],
                      {"scores": scores.assign(dice=scores["iou"])})  # fmt: skip
    assert list(claims["in_advance"]) == [True, False]
