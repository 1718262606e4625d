import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm4seg_probe.config import DataConfig
from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.data.near_duplicates import kept_together
from llm4seg_probe.data.phantoms import write_phantoms
from llm4seg_probe.data.splits import SIDES, Split, draw_folds, fold_sides, problems, split_of
from llm4seg_probe.errors import DataError

GROUPS = st.dictionaries(st.text("abcxyz", min_size=1, max_size=4), st.integers(1, 4), min_size=5)


@settings(deadline=None, max_examples=60)
@given(groups=GROUPS, seed=st.integers(0, 99), data=st.data())
def test_folds_test_everything_once_and_never_part_a_group(slices_of, groups, seed, data):
    collection = slices_of(groups)
    folds = data.draw(st.integers(2, len(groups)))
    splits = draw_folds(collection, "cases", folds, seed)
    assert len(splits) == folds
    tested = [image for split in splits for image in split.test]
    assert sorted(tested) == sorted(sample.image for sample in collection.samples)
    for split in splits:
        assert list(problems(split, collection)) == []
        assert sum(len(split.side(side)) for side in SIDES) == len(collection.samples)
        assert not split.within_case
        assert not split.validation_is_test
    sizes = [len({collection.sample(i).group for i in split.test}) for split in splits]
    assert max(sizes) - min(sizes) <= 1


@settings(deadline=None, max_examples=60)
@given(count=st.integers(4, 60), folds=st.integers(2, 8), seed=st.integers(0, 99))
def test_neighbours_in_size_are_dealt_to_different_folds(count, folds, seed):
    if count - -(-count // folds) < 2:
        return
    units = [f"unit{i:02d}" for i in range(count)]
    sides = fold_sides(units, folds, seed)
    test_of = {
        unit: i for i, side_of in enumerate(sides) for unit in units if side_of[unit] == "test"
    }
    for start in range(0, count, folds):
        run = [test_of[unit] for unit in units[start : start + folds]]
        assert len(set(run)) == len(run)
    for side_of in sides:
        left = [unit for unit in units if side_of[unit] != "test"]
        places = [i for i, unit in enumerate(left) if side_of[unit] == "val"]
        assert len(places) == max(1, round(0.2 * len(left)))
        # One of each run of about five in the order of sizes.
        runs = np.array_split(np.arange(len(left)), len(places))
        assert all(run[0] <= place <= run[-1] for place, run in zip(places, runs, strict=True))


def test_equal_seeds_give_equal_folds_and_others_others():
    units = [f"unit{i:02d}" for i in range(20)]
    assert fold_sides(units, 5, 3) == fold_sides(units, 5, 3)
    assert len({str(fold_sides(units, 5, seed)) for seed in range(6)}) == 6
    first = fold_sides(units, 5, 0)
    assert len({str([u for u in units if side_of[u] == "val"]) for side_of in first}) == 5


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Twenty phantoms whose regions vary in size."""
    folder = tmp_path_factory.mktemp("folds") / "noise"
    return write_phantoms(folder, "noise", 20, size=(32, 32))


def test_groups_are_stratified_by_the_size_of_the_foreground(drawn):
    share = {sample.image: drawn.read(sample).mask.mean() for sample in drawn.samples}
    ordered = sorted(share, key=share.__getitem__)
    for split in draw_folds(drawn, "groups", 4, 0):
        # One test image of each five runs of four in the order of sizes.
        assert sorted(ordered.index(image) // 4 for image in split.test) == [0, 1, 2, 3, 4]


def test_a_stored_fold_is_trained_on_by_its_path(drawn, tmp_path):
    split = draw_folds(drawn, "groups", 5, 1)[2]
    split.save(tmp_path / "fold-2.json")
    assert split.name == "groups, fold 2 of 5"
    config = DataConfig(split=str(tmp_path / "fold-2.json"))
    again = split_of(open_collection(str(drawn.samples[0].image_file.parents[1])), config)
    assert again == Split.load(tmp_path / "fold-2.json")
    assert again.fingerprint == split.fingerprint


def test_joined_groups_stay_together_in_every_fold(slices_of):
    data = slices_of(dict.fromkeys("abcdefgh", 2))
    joined = kept_together(data, [("a-000", "c-001"), ("c-000", "f-000"), ("b-000", "h-001")])
    joined.__dict__["fingerprint"] = data.fingerprint
    assert {s.group: s.unit for s in joined.samples} == dict(
        zip("abcdefgh", "abadeagb", strict=True)
    )
    for seed in range(10):
        for split in draw_folds(joined, "cases", 3, seed):
            for those in ("acf", "bh"):
                assert len({side for side in SIDES for i in split.side(side) if i[0] in those}) == 1
            assert list(problems(split, data)) == []


def test_joining_groups_leaves_the_data_set_what_it_is(drawn):
    assert kept_together(drawn, [("noise-0001", "noise-0004")]).fingerprint == drawn.fingerprint


def test_joining_respects_what_was_together_before(slices_of):
    data = slices_of({"a": 1, "b": 1, "c": 1})
    samples = tuple(
        dataclasses.replace(s, together="x" if s.group in "ab" else "") for s in data.samples
    )
    object.__setattr__(data, "samples", samples)
    joined = kept_together(data, [("b-000", "c-000")])
    assert len({s.unit for s in joined.samples}) == 1


def test_folds_that_cannot_be_drawn_are_refused(slices_of):
    data = slices_of({"a": 40, "b": 40, "c": 40})
    for kind, folds, message in [
        ("blocks", 3, "split 'blocks' has no folds; choose one of: cases, groups"),
        ("case", 3, "unknown split 'case'. Did you mean 'cases'"),
        ("cases", 4, "toy has 3 groups that may be parted: too few for 4 folds"),
        ("cases", 2, "toy has 3 groups that may be parted: too few for 2 folds"),
        ("cases", 1, "1 folds: there are at least 2"),
    ]:
        with pytest.raises(DataError, match=message):
            draw_folds(data, kind, folds, 0)
