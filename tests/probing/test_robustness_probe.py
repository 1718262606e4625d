from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from llm4seg_probe.data.opening import open_collection
from llm4seg_probe.errors import DataError, UserError
from llm4seg_probe.measures.corruption import CORRUPTIONS
from llm4seg_probe.probing.robustness import robustness_table, worse
from llm4seg_probe.tables import ROBUSTNESS, read_table, write_table
from llm4seg_probe.training.evaluate import score


@pytest.fixture(scope="module")
def collection(tiny_config):
    return open_collection(tiny_config.data.name, classes=tiny_config.data.classes)


@pytest.fixture(scope="module")
def table(run, collection):
    return robustness_table(run, collection, collection.samples[:6])


def test_every_corruption_strength_and_image_has_a_row(table, tmp_path) -> None:
    assert len(table) == 5 * 6 * 6
    assert set(table.groupby(["corruption", "strength"]).size()) == {6}
    stated = table.groupby("corruption", sort=False)["parameter"].unique()
    for kind, parameters in stated.items():
        assert tuple(parameters[1:]) == CORRUPTIONS[kind].parameters
        assert parameters[0] != parameters[0]  # strength 0 has none
    write_table(table, tmp_path / "robustness.csv", ROBUSTNESS)
    assert len(read_table(tmp_path / "robustness.csv", ROBUSTNESS)) == len(table)


def test_strength_zero_is_evaluate_to_the_bit(run, collection, table) -> None:
    expected = score(run.network, run.config, collection, collection.samples[:6])
    for kind in CORRUPTIONS:
        rows = table[(table["corruption"] == kind) & (table["strength"] == 0)]
        for name in ("iou", "dice"):
            assert rows[name].tolist() == [row[name] for row in expected]
        assert rows["image"].tolist() == [row["image"] for row in expected]


def test_scores_are_those_of_evaluate_on_the_worse_images(run, collection, table) -> None:
    seen = worse(collection, "blur", 5)
    expected = score(run.network, run.config, seen, collection.samples[:6])
    rows = table[(table["corruption"] == "blur") & (table["strength"] == 5)]
    assert rows["iou"].tolist() == [row["iou"] for row in expected]


def test_images_are_the_same_for_every_reader_and_masks_untouched(collection) -> None:
    again = open_collection(collection.source or str(collection.samples[0].image_file.parents[1]))
    for sample in collection.samples[:2]:
        raw = collection.read(sample)
        first = worse(collection, "noise", 3).read(sample)
        second = worse(again, "noise", 3).read(again.sample(sample.image))
        assert (first.image == second.image).all()
        assert (first.mask == raw.mask).all()
        assert (first.image != raw.image).any()
        other = worse(collection, "noise", 4).read(sample)
        pattern = (torch.from_numpy(one.image - raw.image).flatten() for one in (first, other))
        assert torch.corrcoef(torch.stack(list(pattern)))[0, 1].abs() < 0.2
    a, b = (worse(collection, "noise", 3).read(sample) for sample in collection.samples[:2])
    assert (a.image != b.image).any()


def test_noise_on_ct_is_in_hounsfield_units(collection) -> None:
    samples = tuple(dataclasses.replace(one, modality="ct") for one in collection.samples)
    ct = dataclasses.replace(collection, samples=samples)
    clean = ct.read(samples[0]).image
    noise = worse(ct, "noise", 1).read(samples[0]).image - clean
    assert noise.std() == pytest.approx(20, rel=0.1)


def test_the_network_is_left_as_it_was(run, collection, fingerprint) -> None:
    before = fingerprint(run.network)
    robustness_table(run, collection, collection.samples[:2], ["jpeg"], [0, 5])
    assert fingerprint(run.network) == before


def test_bad_input_is_named(run, collection) -> None:
    with pytest.raises(UserError, match=r"unknown corruption 'nois'\. Did you mean 'noise'\?"):
        robustness_table(run, collection, collection.samples[:1], ["nois"])
    with pytest.raises(UserError, match="strength is 6: give whole numbers from 0 to 5"):
        robustness_table(run, collection, collection.samples[:1], ["noise"], [6])
    with pytest.raises(DataError, match="there are no images to probe run llm-0 on"):
        robustness_table(run, collection, [])


def test_images_without_any_foreground_are_refused(run, collection) -> None:
    class Empty(type(collection)):
        def read(self, sample):
            raw = super().read(sample)
            return dataclasses.replace(raw, mask=np.zeros_like(raw.mask))

    empty = Empty(collection.name, collection.samples, collection.classes)
    with pytest.raises(DataError, match="run llm-0 was scored on has any foreground: give images"):
        robustness_table(run, empty, collection.samples[:2])
