import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from llm4seg_probe.config import DataConfig
from llm4seg_probe.data import partition
from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.data.splits import SIDES, Split, split_of
from llm4seg_probe.errors import DataError


def config(split: str, seed: int = 0) -> DataConfig:
    return DataConfig(split=split, split_seed=seed)


def numbers(images: tuple[str, ...], case: str) -> list[int]:
    return [int(image.rsplit("-", 1)[1]) for image in images if image.rsplit("-", 1)[0] == case]


CASES = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(20, 60), min_size=1)


@settings(deadline=None, max_examples=50)
@given(slices=CASES, mm=st.sampled_from([None, 1.0, 2.5, 10.0]), seed=st.integers(0, 99))
def test_blocks_are_contiguous_and_apart_and_every_case_is_on_all_sides(
    slices_of, slices, mm, seed
):
    split = split_of(slices_of(slices, mm), config("blocks", seed))
    gap = partition.GAP_SLICES if mm is None else max(1, math.ceil(partition.GAP_MM / mm))
    assert split.within_case
    for case, n in slices.items():
        blocks = [numbers(split.side(side), case) for side in SIDES]
        for block in blocks:
            assert block == list(range(block[0], block[-1] + 1))
        first, second, third = sorted(blocks)
        assert second[0] - first[-1] == third[0] - second[-1] == gap + 1
        assert (first[0], third[-1]) == (0, n - 1)
        assert len(blocks[1]) == len(blocks[2]) == max(1, round(0.2 * (n - 2 * gap)))


@settings(deadline=None, max_examples=50)
@given(n=st.integers(3, 40), seed=st.integers(0, 99))
def test_cases_are_whole_and_on_one_side(slices_of, n, seed):
    collection = slices_of({f"case{i}": 1 + i % 3 for i in range(n)})
    split = split_of(collection, config("cases", seed))
    sides = [{image.rsplit("-", 1)[0] for image in split.side(side)} for side in SIDES]
    assert not split.within_case
    assert sides[0].isdisjoint(sides[1])
    assert sides[0].isdisjoint(sides[2])
    assert sides[1].isdisjoint(sides[2])
    assert sum(len(side) for side in sides) == n
    assert len(sides[1]) == len(sides[2]) == max(1, round(0.2 * n))
    assert sum(len(split.side(side)) for side in SIDES) == len(collection.samples)


def test_cases_that_may_be_one_person_stay_together(slices_of):
    a = slices_of({"a": 5, "b": 5}, together="x")
    b = slices_of({"c": 5, "d": 5})
    both = slices_of({})
    object.__setattr__(both, "samples", a.samples + b.samples)
    for seed in range(20):
        split = split_of(both, config("cases", seed))
        holding = [side for side in SIDES if set("ab") & {i[0] for i in split.side(side)}]
        assert len(holding) == 1


@pytest.fixture
def sized(tmp_path):
    """Forty miniature images, two per group, whose foreground grows from group to group."""
    for kind in ("images", "masks"):
        (tmp_path / "sized" / kind).mkdir(parents=True)
    rows = ["image,group"]
    for i in range(40):
        mask = np.zeros((16, 16), np.uint8)
        mask.flat[: 2 + 6 * (i // 2)] = 255
        for kind in ("images", "masks"):
            Image.fromarray(mask).save(tmp_path / "sized" / kind / f"{i}.png")
        rows.append(f"{i},patient{i // 2:02d}")
    (tmp_path / "sized" / "groups.csv").write_text("\n".join(rows))
    return open_collection(str(tmp_path / "sized"))


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_balanced_by_size_of_the_foreground(sized, seed):
    split = split_of(sized, config("groups", seed))
    assert [len(split.side(side)) for side in SIDES] == [24, 8, 8]
    assert not split.within_case
    for side in SIDES:
        # Quarters of the twenty groups by size: each side has its share of each.
        quarters = [int(sized.sample(image).group[-2:]) // 5 for image in split.side(side)]
        assert [quarters.count(q) for q in range(4)] == [len(quarters) // 4] * 4


def test_the_reference_split_reports_on_what_it_chose_on(sized):
    split = split_of(sized, config("reference"))
    assert split.val == split.test
    assert (len(split.train), len(split.val)) == (28, 12)
    assert split.validation_is_test
    assert "Validation is test" in " ".join(split.caveats)
    assert "same people" in " ".join(split.caveats)


@pytest.mark.parametrize("kind", [kind for kind in partition.KINDS if kind != "own"])
def test_equal_seeds_give_equal_splits_and_others_another(kind, sized, slices_of):
    data = slices_of({"a": 40, "b": 30, "c": 30, "d": 20}) if kind in ("blocks", "cases") else sized
    first = split_of(data, config(kind, 3))
    assert split_of(data, config(kind, 3)) == first
    assert len({split_of(data, config(kind, seed)).fingerprint for seed in range(6)}) > 2
    parts = [partition.KINDS[kind].draw(data, seed) for seed in range(6)]
    assert len({str(part) for part in parts}) > 1


def test_a_stored_split_comes_back(tmp_path, slices_of):
    data = slices_of({"a": 40, "b": 30})
    split = split_of(data, config("blocks"))
    split.save(tmp_path / "split.json")
    assert Split.load(tmp_path / "split.json") == split
    assert split_of(data, config(str(tmp_path / "split.json"))).fingerprint == split.fingerprint


def stored(path, split: Split, **changes: object) -> str:
    Split(**{**{f: getattr(split, f) for f in split.__dataclass_fields__}, **changes}).save(path)
    return str(path)


def test_wrong_stored_splits_are_refused(tmp_path, slices_of):
    data = slices_of({"a": 40, "b": 30, "c": 20})
    split = split_of(data, config("cases"))
    path = tmp_path / "split.json"
    wrong = {
        "is a split of toy .*, not of toy as it is here": {"dataset_fingerprint": "1" * 64},
        r"no images in test \(train \d+, val \d+, test 0\)": {"test": ()},
        "unknown image 'a-999'": {"test": ("a-999",)},
        "image '.*' is in train and in val": {"val": split.train[:1]},
        "group '.*' is in train and in test, which would leak": {
            "train": split.train[1:], "test": split.train[:1],
        },
    }  # fmt: skip
    for message, changes in wrong.items():
        with pytest.raises(DataError, match=message):
            split_of(data, config(stored(path, split, **changes)))
    declared = {"train": split.train[1:], "test": split.train[:1], "within_case": True}
    assert split_of(data, config(stored(path, split, **declared))).within_case


def test_files_that_are_no_splits_are_refused(tmp_path, slices_of):
    data = slices_of({"a": 40, "b": 30})
    path = tmp_path / "split.json"
    with pytest.raises(
        DataError, match=r"no such split: .*split\.json\. Give the path of a stored"
    ):
        split_of(data, config(str(path)))
    for text in ("[", "[]", "{}", '{"fingerprint": "0", "train": 3, "val": [], "test": []}'):
        path.write_text(text)
        with pytest.raises(DataError, match=r"split\.json: not a stored split"):
            split_of(data, config(str(path)))
    split_of(data, config("blocks")).save(path)
    values = json.loads(path.read_text())
    values["train"].pop()
    path.write_text(json.dumps(values))
    with pytest.raises(DataError, match="was changed since it was stored"):
        split_of(data, config(str(path)))
    with pytest.raises(
        DataError, match=r"data\.split: unknown split 'block'\. Did you mean 'block"
    ):
        split_of(data, config("block"))


def test_the_lists_of_the_reference_implementation(tmp_path, pictures):
    data = open_collection(str(pictures))
    (tmp_path / "busi_train.txt").write_text("scan 1\nscan 10\n")
    with pytest.raises(DataError, match=r"busi_val\.txt: not a readable list"):
        split_of(data, config(str(tmp_path / "busi_train.txt")))
    (tmp_path / "busi_val.txt").write_text("scan 2\n\n")
    split = split_of(data, config(str(tmp_path / "busi_train.txt")))
    assert split.train == ("scan 1", "scan 10")
    assert split.val == split.test == ("scan 2",)
    assert split.validation_is_test
    assert not split.within_case
    (tmp_path / "busi_test.txt").write_text("scan 1\n")
    with pytest.raises(DataError, match="scan 1"):
        split_of(data, config(str(tmp_path / "busi_train.txt")))
    (tmp_path / "busi_train.txt").write_text("scan 10\n")
    with_test = split_of(data, config(str(tmp_path / "busi_train.txt")))
    assert (with_test.val, with_test.test) == (("scan 2",), ("scan 1",))
    assert not with_test.validation_is_test
    (tmp_path / "busi_test.txt").unlink()
    (tmp_path / "busi_val.txt").write_text("scan 3\n")
    with pytest.raises(DataError, match="unknown image 'scan 3'"):
        split_of(data, config(str(tmp_path / "busi_train.txt")))


def test_data_that_cannot_be_split_that_way(slices_of, pictures):
    plain = open_collection(str(pictures))
    with pytest.raises(DataError, match="split 'blocks' is for slices of volumes; 'scan 1' is not"):
        split_of(plain, config("blocks"))
    with pytest.raises(DataError, match="case 'a' has 6 slices: too few for three blocks with gap"):
        split_of(slices_of({"a": 6}), config("blocks"))
    with pytest.raises(
        DataError, match="toy has 2 cases that may be parted; split 'cases' needs 3"
    ):
        split_of(slices_of({"a": 6, "b": 6}), config("cases"))


def test_a_data_set_may_come_with_its_own_sides(slices_of):
    data = slices_of({"a": 2, "b": 3, "c": 1, "d": 1})
    with pytest.raises(DataError, match="toy does not say which image is on which side"):
        split_of(data, config("own"))
    sides = {"a": "test", "b": "train", "c": "val", "d": ""}
    samples = tuple(dataclasses.replace(s, side=sides[s.group]) for s in data.samples)
    object.__setattr__(data, "samples", samples)
    with pytest.raises(DataError, match=r"1 of 7 images are on no side \(d-000\)"):
        split_of(data, config("own"))
    object.__setattr__(data, "samples", samples[:-1])
    split = split_of(data, config("own"))
    assert split.train == ("b-000", "b-001", "b-002")
    assert split.val == ("c-000",)
    assert split.test == ("a-000", "a-001")


def test_an_unknown_side_is_named(slices_of):
    split = split_of(slices_of({"a": 40}), config("blocks"))
    with pytest.raises(DataError, match=r"unknown split side 'tests'\. Did you mean 'test'"):
        split.side("tests")


@pytest.mark.parametrize("n", [3, 4, 5, 6, 7, 11])
@pytest.mark.parametrize("seed", range(4))
def test_groups_fill_every_side_however_few_they_are(sized, n, seed):
    few = dataclasses.replace(sized, samples=sized.samples[: 2 * n])
    split = split_of(few, config("groups", seed))
    assert all(split.side(side) for side in SIDES)
    assert sum(len(split.side(side)) for side in SIDES) == 2 * n


def test_two_groups_cannot_fill_three_sides(sized):
    with pytest.raises(DataError, match="sized has 2 groups; split 'groups' needs 3"):
        split_of(dataclasses.replace(sized, samples=sized.samples[:4]), config("groups"))
