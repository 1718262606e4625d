"""Tables of the known kinds, made afresh a fifth time by somebody who had mended none of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from strangers import per_seed_csv, tell

FRACTIONS, PER_CENT = (0.60, 0.61, 0.62), (61, 62, 64)


@pytest.mark.parametrize("name", ["kappa", "MCC", "QWK", "R2", "ICC", "Spearman", "BLEU", "NDCG"])
def test_fractions_beside_per_cent_of_scores_that_may_be_negative(tmp_path: Path, name) -> None:
    table = per_seed_csv(PER_CENT, FRACTIONS, header=f"method,seed,{name}")
    for command in ("compare", "audit"):
        result = tell(tmp_path, command, table)
        assert "mixes fractions and percentages: fractions in unet 0" in result.text
        assert result.rows.empty


@pytest.mark.parametrize("name", ["EER", "WER", "dice", "VOE", "dice_loss"])
def test_an_arm_a_hundred_times_another_is_doubted(tmp_path: Path, name: str) -> None:
    table = per_seed_csv((0.8, 0.95, 0.9), (0.008, 0.009, 0.010), header=f"method,seed,{name}")
    for command in ("compare", "audit"):
        told = tell(tmp_path, command, table).text.lower()
        assert f"{name.lower()} of ours is 100 times that of unet: is one" in told


def test_distances_may_differ_a_hundredfold(tmp_path: Path) -> None:
    table = per_seed_csv((80, 95, 90), (0.8, 0.9, 1.0), header="method,seed,hd95")
    assert "in per cent?" not in tell(tmp_path, "compare", table).text


@pytest.mark.parametrize(
    "name",
    ["loss_improvement", "error improvement", "loss gain", "survival time",
     "Time to progression (months)", "time to event", "cost saving"],
)  # fmt: skip
def test_a_direction_that_the_name_does_not_tell_is_asked_for(tmp_path: Path, name: str) -> None:
    table = per_seed_csv((0.20, 0.22, 0.23), (0.10, 0.11, 0.12), header=f"method,seed,{name}")
    for command in ("compare", "audit"):
        result = tell(tmp_path, command, table, "--score", name)
        assert result.code == 2
        assert "add --higher-is-better or --lower-is-better" in result.text


def test_printed_regions_of_a_score_that_the_user_names(tmp_path: Path) -> None:
    table = "Method,WT,ET,n\nunet,6.1 ± 0.1,4.1 ± 0.1,5\nours,5.0 ± 0.1,3.2 ± 0.1,5\n"
    guessed = tell(tmp_path, "audit", table)
    assert "the numbers are taken for IoU: --score names another" in guessed.text
    named = tell(tmp_path, "audit", table, "--score", "HD95")
    assert set(named.rows["verdict"]) == {"supported"}
    assert set(named.rows["score"]) == {"hd95"}
    assert "taken for IoU" not in named.text


@pytest.mark.parametrize("options", [(), ("--decimal", ","), ("--decimal", ".")])
def test_a_dot_that_may_separate_thousands_in_a_file(tmp_path: Path, options) -> None:
    table = (
        "method;seed;hd95;dice\nunet;0;1.234;0,81\nunet;1;2.345;0,82\nunet;2;998;0,80\n"
        "ours;0;1.111;0,83\nours;1;2.222;0,84\nours;2;870;0,82\n"
    )
    result = tell(tmp_path, "compare", table, "--score", "hd95", *options)
    if not options:
        assert "hd95 '1.234' may be 1.234 or 1234: say which mark" in result.text
    else:
        thousands = (1111 + 2222 + 870 - 1234 - 2345 - 998) / 3
        points = (1.111 + 2.222 + 870 - 1.234 - 2.345 - 998) / 3
        expected = thousands if options[1] == "," else points
        assert result.row["difference"] == pytest.approx(expected)


@pytest.mark.parametrize("form", ["{}_{}", "{}-{}.png"])
def test_sides_in_the_names_of_cases_are_doubted(tmp_path: Path, form: str) -> None:
    rows = ["method,seed,case,dice"]
    for arm, values in (("unet", (0.9, 0.91, 0.8, 0.79)), ("ours", (0.97, 0.98, 0.76, 0.75))):
        for seed in range(3):
            for place, value in enumerate(values):
                case = form.format("train" if place < 2 else "test", place)
                rows.append(f"{arm},{seed},{case},{value + 0.001 * seed * place}")
    told = tell(tmp_path, "compare", "\n".join(rows) + "\n").text
    assert "the names of cases in case begin with several sides (train, test)" in told


def test_folders_of_nnunet_are_sides(tmp_path: Path) -> None:
    rows = ["method,seed,case,dice"]
    rows += [
        f"{arm},{seed},images{side}/c{case},{0.8 + 0.01 * seed * case}"
        for arm in ("unet", "ours")
        for seed in range(3)
        for side in ("Tr", "Ts")
        for case in range(3)
    ]
    told = tell(tmp_path, "compare", "\n".join(rows) + "\n").text
    assert "lie in folders of several sides (imagesTr, imagesTs)" in told


def test_arms_whose_cases_lie_in_other_folds(tmp_path: Path) -> None:
    rows = ["method,fold,case,dice"]
    for arm in ("unet", "ours"):
        for case in range(9):
            fold = case % 3 if arm == "unet" or case < 3 else (case + 1) % 3
            rows.append(f"{arm},{fold},c{case},{0.8 + 0.01 * case * (1 + (arm == 'ours'))}")
    for command in ("compare", "audit"):
        result = tell(tmp_path, command, "\n".join(rows) + "\n")
        assert "6 cases are in another fold in one arm than in another" in result.text
        assert result.rows.empty


def test_medians_with_their_absolute_deviations_are_no_means(tmp_path: Path) -> None:
    table = "method,Dice median ± MAD,n\nunet,85.3 ± 2.4,5\nours,86.1 ± 2.3,5\n"
    result = tell(tmp_path, "audit", table)
    assert result.code == 2
    assert "holds median ± MAD: means with SDs, or with standard errors" in result.text


def test_small_losses_are_not_called_rounded(tmp_path: Path) -> None:
    ours, unet = (3.7355e-05, 3.8107e-05, 3.6218e-05), (4.7355e-05, 4.8106e-05, 4.6214e-05)
    table = per_seed_csv(ours, unet, header="method,seed,loss")
    assert "are rounded" not in tell(tmp_path, "audit", table, "--margin", 1e-7).text


def test_slices_of_patients_of_whom_some_have_one(tmp_path: Path) -> None:
    names = [f"P{p}_slice{s:03d}.png" for p in range(12) for s in range(1 if p == 3 else 6)]
    rows = ["method,seed,image,dice"]
    rows += [
        f"{arm},{seed},{name},{0.8 + 0.001 * place * (1 + seed * (arm == 'ours')) % 0.1:.4f}"
        for arm in ("unet", "ours")
        for seed in range(3)
        for place, name in enumerate(names)
    ]
    told = tell(tmp_path, "compare", "\n".join(rows) + "\n").text
    assert "the cases look like 12 patients with several images each" in told
