"""Arms are paired two by two, seeds by their numbers, and unpaired groups have an exact test."""

from math import comb

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from strangers import OURS, UNET, per_seed_csv, tell

THIRD = [0.80, 0.78, 0.83, 0.79, 0.81]


def with_third(seeds):
    rows = "".join(f"published,{seed},{value}\n" for seed, value in zip(seeds, THIRD, strict=True))
    return per_seed_csv() + rows


@pytest.mark.parametrize("seeds", [range(100, 105), range(4, 9), ["a", "b", "c", "d", "e"]])
@pytest.mark.parametrize("command", ["compare", "audit"])
def test_a_third_arm_with_other_seeds_leaves_the_first_two_paired(tmp_path, seeds, command):
    options = ["--drop-unpaired"] if command == "compare" else []
    told = tell(tmp_path, command, with_third(seeds), "--baseline", "unet", *options)
    rows = told.rows.set_index("a")
    p = [stats.ttest_rel(OURS, UNET).pvalue, stats.ttest_ind(THIRD, UNET, equal_var=False).pvalue]
    assert list(rows.loc[["ours", "published"], "p_t"]) == pytest.approx(p, rel=1e-9)
    adjusted = multipletests(p, method="holm")[1]
    assert list(rows.loc[["ours", "published"], "p_adjusted"]) == pytest.approx(adjusted, rel=1e-9)
    assert rows.loc["ours", "n_seeds"] == 5
    assert "ours has a higher dice than unet" in told.text
    assert "published against unet: " in told.text
    assert "left out: seeds" not in told.text


def test_compare_without_a_word_names_the_seeds_that_lack_a_partner(tmp_path):
    told = tell(tmp_path, "compare", with_third(range(100, 105)), "--baseline", "unet")
    assert told.code == 2
    assert "seeds 100, 101, 102, 103, 104 of published have no partner" in told.text
    assert "--drop-unpaired" in told.text


@pytest.mark.parametrize("hole", ["row", "empty", "nan"])
@pytest.mark.parametrize("command", ["compare", "audit"])
def test_a_seed_that_one_arm_lacks_is_left_out_and_said_beside_the_number(tmp_path, hole, command):
    text = per_seed_csv()
    line = f"ours,2,{OURS[2]}\n"
    text = text.replace(line, {"row": "", "empty": "ours,2,\n", "nan": "ours,2,NaN\n"}[hole])
    options = ["--drop-unpaired"] if command == "compare" else []
    told = tell(tmp_path, command, text, "--baseline", "unet", *options)
    kept = [0, 1, 3, 4]
    a, b = np.array(OURS)[kept], np.array(UNET)[kept]
    assert told.row["difference"] == pytest.approx((a - b).mean())
    assert told.row["p_t"] == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=1e-9)
    assert "Left out: seeds 2 of unet have no partner." in told.row["sentence"]
    if command == "compare":
        assert tell(tmp_path, command, text, "--baseline", "unet").code == 2


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("seed_{}", "{}"), ("seed_0{}", "seed_{}"), ("run-{}", "{}"), ("0{}", "{}"), ("{}.0", "{}"),
        (" {}", "{} "), ("s{}", "{}"), ("Seed {}", "{}"), ("rep{}", "rep_{}"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["compare", "audit"])
def test_seeds_that_are_written_in_two_ways_are_the_same_seeds(tmp_path, a, b, command):
    rows = [f"unet,{b.format(s)},{UNET[s]}" for s in range(5)]
    rows += [f"ours,{a.format(s)},{OURS[s]}" for s in range(5)]
    told = tell(tmp_path, command, "\n".join(["method,seed,dice", *rows]), "--baseline", "unet")
    assert told.code == 0, told.text
    assert told.row["p_t"] == pytest.approx(stats.ttest_rel(OURS, UNET).pvalue, rel=1e-9)


@pytest.mark.parametrize("sizes", [(5, 5), (10, 10), (4, 7)])
def test_unpaired_arms_without_spread_have_the_exact_test_of_two_groups(tmp_path, sizes):
    n, m = sizes
    rows = [f"base,{s},0.8" for s in range(m)] + [f"new,{100 + s},0.9" for s in range(n)]
    text = "\n".join(["arm,seed,dice", *rows])
    for command, options in (("compare", ["--unpaired"]), ("audit", [])):
        row = tell(tmp_path, command, text, "--baseline", "base", *options).row
        exact = (2 if n == m else 1) / comb(n + m, n)
        assert row["p_exact"] == pytest.approx(exact, rel=1e-12)
        assert row["p_exact_floor"] == pytest.approx(exact, rel=1e-12)
        assert row["p_adjusted"] == pytest.approx(2 / comb(n + m, n), rel=1e-12)
        assert row["verdict"] == "supported"
        assert "sign" not in row["note"]


def test_the_exact_test_of_two_groups_is_scipy_s(tmp_path):
    rows = [f"unet,{s},{v}" for s, v in enumerate(UNET)]
    rows += [f"ours,{10 + s},{v}" for s, v in enumerate(THIRD[:4])]
    row = tell(
        tmp_path,
        "compare",
        "\n".join(["method,seed,dice", *rows]),
        "--baseline",
        "unet",
        "--unpaired",
    ).row
    exact = stats.permutation_test(
        (THIRD[:4], UNET), lambda x, y, axis: np.abs(x.mean(axis) - y.mean(axis)), vectorized=True,
        n_resamples=np.inf, alternative="greater",
    )  # fmt: skip
    assert row["p_exact"] == pytest.approx(exact.pvalue, rel=1e-12)
    assert "4 and 5 unpaired runs" in row["sentence"]


def test_folds_without_spread_have_no_test(tmp_path):
    rows = [f"{arm},{f},c{3 * f + c},{0.7 + 0.1 * (arm == 'ours')}" for arm in ("unet", "ours")
            for f in range(5) for c in range(3)]  # fmt: skip
    row = tell(tmp_path, "audit", "\n".join(["method,fold,case,dice", *rows])).row
    assert np.isnan(row[["p_t", "p_exact", "p_adjusted"]].astype(float)).all()
    assert row["verdict"] == "inconclusive"
    assert "the differences do not vary between folds: there is no test of that" in row["note"]


def test_a_counter_of_runs_is_doubted_as_a_seed(tmp_path):
    text = per_seed_csv(header="model,run,dice")
    told = tell(tmp_path, "audit", text, "--baseline", "unet")
    assert "doubt: column run was taken for the seed" in told.text
    alone = tell(tmp_path, "audit", text, "--baseline", "unet", "--unpaired")
    assert alone.row["p_t"] == pytest.approx(stats.ttest_ind(OURS, UNET, equal_var=False).pvalue)


@pytest.mark.parametrize("collapse", [-0.7, 0.5])
def test_a_collapsed_seed_is_named_with_what_the_others_say(tmp_path, collapse):
    rng = np.random.default_rng(1)
    d = rng.normal(0.02, 0.002, 10)
    d[9] = collapse
    base = rng.normal(0.8 if collapse < 0 else 0.4, 0.01, 10)
    text = per_seed_csv(tuple(base + d), tuple(base))
    for command in ("compare", "audit"):
        told = tell(tmp_path, command, text, "--baseline", "unet")
        assert (
            f"seed 9 ({collapse:+.3g}) lies far from the others: without it {d[:9].mean():+.3g}"
            in told.text
        )
        assert f"the median of all is {np.median(d):+.3g}" in told.text


def test_an_ordinary_spread_is_not_doubted():
    from llm4seg_probe.statistics.assessment import _outlying
    from llm4seg_probe.statistics.pairs import Paired

    rng = np.random.default_rng(0)
    seen = 0
    for _ in range(500):
        d = rng.normal(0, 1, 6)
        pair = Paired("", "iou", "a", "b", d[:, None], 0 * d[:, None], None, seeds=tuple(range(6)))
        seen += bool(_outlying(d, pair))
    assert seen <= 3


def test_many_seeds_have_no_exact_p_and_no_floor_of_one(tmp_path):
    rng = np.random.default_rng(2)
    text = per_seed_csv(tuple(0.81 + rng.normal(0, 0.01, 50)), tuple(0.8 + rng.normal(0, 0.01, 50)))
    told = tell(tmp_path, "compare", text, "--baseline", "unet")
    assert np.isnan(told.row["p_exact_floor"])
    assert "cannot give less" not in told.text


@pytest.mark.slow
def test_several_equivalences_are_one_family():
    """Arms truly at the margin: at most 5 % of studies may call any of them equivalent."""
    import pandas as pd

    from llm4seg_probe.statistics.compare import compare

    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(80):
        base = rng.normal(0.7, 0.0005, 5)
        parts = [pd.DataFrame({"arm": "cnn", "seed": range(5), "iou": base})]
        parts += [
            pd.DataFrame({"arm": f"a{k}", "seed": range(5), "iou": 0.705 + rng.normal(0, 0.003, 5)})
            for k in range(10)
        ]
        rows = compare(pd.concat(parts), bootstrap=0)
        hits += (rows["verdict"] == "equivalent").any()
        adjusted = multipletests(rows["p_equivalence"], method="holm")[1]
        assert list(rows["p_equivalence_adjusted"]) == pytest.approx(adjusted)
    assert hits / 80 < 0.1  # 0.23 without the adjustment


def test_every_sentence_names_its_pair_and_p_is_called_two_sided(tmp_path):
    told = tell(tmp_path, "compare", per_seed_csv(tuple(THIRD)), "--baseline", "unet")
    assert told.row["sentence"].startswith("Inconclusive: ours against unet: ")
    assert "p is two-sided" in told.text


def test_where_nothing_was_tested_no_p_is_spoken_of(tmp_path):
    one = "method,seed,dice\nunet,0,0.7\nours,0,0.8\n"
    told = tell(tmp_path, "compare", one, "--baseline", "unet")
    assert "Not run: one seed" in told.text
    assert "two-sided" not in told.text


def test_with_looks_the_boundary_is_told_from_the_adjusted_p(tmp_path):
    options = ("--baseline", "unet", "--looks", "3,5")
    told = tell(tmp_path, "compare", per_seed_csv(), *options)
    assert "p is two-sided, over the declared looks; a boundary is for" in told.text
