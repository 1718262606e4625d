"""Subsets of the training images: nested, the same for all arms, of whole patients, refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llm4seg_probe.arms import ARMS
from llm4seg_probe.config import Config, load_config
from llm4seg_probe.data.collection import Collection
from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.data.splits import split_of
from llm4seg_probe.data.subsets import (
    all_training_images,
    count_of,
    refuse_without_foreground,
    told,
    training_split,
)
from llm4seg_probe.errors import ConfigError, DataError
from llm4seg_probe.study.runs import identity

SIZES = (1, 2, 8, 16, 32, 0.05, 0.5, "all")


def asking(amount: object, seed: int = 0, arm: str = "llm", split: str = "groups") -> Config:
    return Config.model_validate(
        {"arm": arm, "seed": seed, "data": {"split": split, "train_images": amount}}
    )


@pytest.fixture(scope="module")
def singles(tiny_data: Path) -> Collection:
    """Forty images, each of a patient of its own."""
    return open_collection(str(tiny_data))


@pytest.fixture(scope="module")
def patients(slices_of: Callable[..., Collection]) -> Collection:
    """Nine patients with 3 to 11 slices each."""
    return slices_of({f"p{number}": 3 + number for number in range(9)})


@pytest.mark.parametrize("seed", range(6))
def test_without_patients_a_subset_has_just_as_many_images_and_lies_within_larger_ones(
    singles: Collection, seed: int
) -> None:
    whole = split_of(singles, asking("all").data)
    assert len(whole.train) == 24
    before: set[str] = set()
    for count in range(1, 25):
        split = training_split(singles, asking(count, seed))
        assert len(split.train) == count
        assert before < set(split.train) <= set(whole.train)
        assert (split.val, split.test) == (whole.val, whole.test)
        before = set(split.train)
    assert training_split(singles, asking("all", seed)) == whole


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("split", ["cases", "blocks"])
def test_patients_are_whole_and_the_count_is_reached_with_the_last_of_them(
    slices_of: Callable[..., Collection], patients: Collection, seed: int, split: str
) -> None:
    # In contiguous blocks with gaps a patient needs more slices to be on every side.
    data = patients if split == "cases" else slices_of({f"p{n}": 20 + 4 * n for n in range(5)})
    whole = split_of(data, asking("all", split=split).data)
    of_patient: dict[str, set[str]] = {}
    for image in whole.train:
        of_patient.setdefault(data.sample(image).unit, set()).add(image)
    before: set[str] = set()
    for count in range(1, len(whole.train) + 1):
        train = set(training_split(data, asking(count, seed, split=split)).train)
        taken = {data.sample(image).unit for image in train}
        assert train == set().union(*(of_patient[unit] for unit in taken))
        assert before <= train
        assert len(train) >= count
        if train != before:  # a patient was added because those before were too few
            assert len(before) < count
            assert len({data.sample(image).unit for image in train - before}) == 1
        before = train
    assert before == set(whole.train)


def test_a_subset_is_the_same_in_all_arms_and_another_in_other_seeds(singles: Collection) -> None:
    drawn = [
        {training_split(singles, asking(8, seed, arm)).train for arm in ARMS} for seed in range(6)
    ]
    assert all(len(of_a_seed) == 1 for of_a_seed in drawn)
    assert len(set.union(*drawn)) == 6
    # The order of a patient does not hang on who else is there.
    few, more = (set(training_split(singles, asking(count, 3)).train) for count in (8, 16))
    assert few < more


def test_a_share_is_rounded_and_of_the_training_side(singles: Collection) -> None:
    for amount, count in ((0.1, 2), (0.5, 12), (0.01, 1), (0.99, 24), (7, 7)):
        assert len(training_split(singles, asking(amount)).train) == count
        assert count_of(amount, 24) == count


def test_what_it_came_to_is_told(singles: Collection, patients: Collection) -> None:
    config = asking(8, 2)
    assert told(singles, training_split(singles, config), config) == (
        "Trains on 8 of 24 images (data.train_images: 8, drawn by seed 2)."
    )
    config = asking(1, 2, split="cases")
    split = training_split(patients, config)
    of_all = len(split_of(patients, config.data).train)
    assert told(patients, split, config) == (
        f"Trains on {len(split.train)} of {of_all} images, 1 of 5 patients "
        "(data.train_images: 1, drawn by seed 2 and taken whole)."
    )
    assert all_training_images(patients, config.data, split.train) == of_all
    config = asking("all")
    assert told(singles, split_of(singles, config.data), config) == ""


def test_more_images_than_there_are_is_refused(singles: Collection) -> None:
    with pytest.raises(DataError) as refused:
        training_split(singles, asking(25))
    assert str(refused.value) == (
        "data.train_images: 25 images are asked for, but the training side of "
        f"{singles.name} (split 'groups') has 24: ask for fewer, or for all"
    )


@pytest.fixture
def rare(tmp_path: Path) -> Collection:
    """Thirty images of label 1, every fifth of nothing, every tenth of label 2 too."""
    for part in ("images", "masks"):
        (tmp_path / "rare" / part).mkdir(parents=True)
    for number in range(30):
        mask = np.zeros((16, 16), np.uint8)
        if number % 5:
            mask[2:8, 2:8] = 1
        if number % 10 == 1:
            mask[10:14, 10:14] = 2
        for part, pixels in (("images", mask * 90), ("masks", mask)):
            Image.fromarray(pixels).save(tmp_path / "rare" / part / f"{number:02d}.png")
    return open_collection(str(tmp_path / "rare"), classes=("organ", "tumour"))


def test_a_subset_without_foreground_or_without_a_class_is_refused(rare: Collection) -> None:
    seen = {"organ": 0, "tumour": 0, "": 0}
    for seed in range(40):
        config = asking(1, seed)
        split = training_split(rare, config)
        number = int(split.train[0])
        lacking = [
            name
            for name, there in (("organ", number % 5), ("tumour", number % 10 == 1))
            if not there
        ]
        if not lacking:
            refuse_without_foreground(rare, split, config)
            seen[""] += 1
            continue
        with pytest.raises(DataError) as refused:
            refuse_without_foreground(rare, split, config)
        what = "" if len(lacking) == 2 else " of class tumour"
        assert str(refused.value) == (
            f"{rare.name}: the subset of 1 image that data.train_images: 1 takes for seed {seed} "
            f"has no foreground{what}: ask for more images, or leave this seed out"
        )
        seen["organ" if len(lacking) == 2 else "tumour"] += 1
    assert min(seen.values()) > 0
    for seed in range(5):
        refuse_without_foreground(rare, training_split(rare, asking("all", seed)), asking("all"))


@pytest.mark.parametrize("wrong", ["0", "-3", "1.0", "0.0", "1.5", "most", "true", "[8]", "null"])
def test_an_amount_that_is_none_is_refused_in_one_line(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "run.yaml").write_text(f"data: {{train_images: {wrong}}}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        load_config(tmp_path / "run.yaml")
    assert "data.train_images: give a count of images of at least 1 (8), a share" in str(
        refused.value
    )
    assert "\n" not in str(refused.value)


def test_a_configuration_reads_back_with_the_kind_of_its_amount(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("arm: cnn\n", encoding="utf-8")
    for amount in SIZES:
        config = load_config(tmp_path / "run.yaml", (f"data.train_images={amount}",))
        assert config.data.train_images == amount
        assert type(config.data.train_images) is type(amount)
        assert Config.model_validate(config.model_dump(mode="json")) == config


def test_runs_that_do_not_use_the_fields_keep_the_folders_of_earlier_versions() -> None:
    # As commit a172adf computed them, which had none of the fields.
    assert identity(Config(), "x").startswith("710c74e2a8832851")
    early = Config.model_validate({"arm": "cnn", "training": {"epochs": 3}})
    assert identity(early, "x").startswith("b50e94ff14133d8f")
    changed = [
        {"data": {"train_images": 8}},
        {"data": {"train_images": 0.5}},
        {"data": {"label_noise": 0.1}},
        {"training": {"steps_per_epoch": 3}},
        {"training": {"steps_per_epoch": "full"}},
    ]
    found = {identity(Config.model_validate(values), "x") for values in changed}
    assert len(found | {identity(Config(), "x")}) == 6
