"""The probe `decode`: its table, its figures and its command."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from commands import invoke, refused
from torch import nn

from llm4seg_probe.data.batches import Batch
from llm4seg_probe.errors import DataError, SiteError, UserError
from llm4seg_probe.measures.linear_probe import PENALTIES, position_features
from llm4seg_probe.models.network import build_network
from llm4seg_probe.probes.base import NotMeasurable
from llm4seg_probe.probes.decode import DECODE
from llm4seg_probe.probes.decode.sides import sides_of
from llm4seg_probe.probes.decode.table import Plan, decode_table
from llm4seg_probe.probes.probed import Source
from llm4seg_probe.probes.registry import find
from llm4seg_probe.probes.result import take
from llm4seg_probe.randomness import generator
from llm4seg_probe.tables import read_table, write_table
from llm4seg_probe.training.stored_run import load

KEYS = list(DECODE.keys)
SIDE, CELL = 6, 4


def made(side, count, channels, paint, groups=None, empty=()):
    """Images of constant cells, and masks of whole cells, as batches of three."""
    source = generator("decode images", side)
    masks = torch.zeros(count, SIDE, SIDE)
    for index in range(count):
        if index not in empty:
            row, column = torch.randint(0, 4, (2,), generator=source).tolist()
            masks[index, row : row + 3, column : column + 2] = 1
    images = torch.stack([paint(mask, source) for mask in masks])
    assert images.shape[1] == channels

    def grown(cells):
        return cells.repeat_interleave(CELL, -1).repeat_interleave(CELL, -2)

    names = [f"{side}{index}" for index in range(count)]
    groups = groups or names
    return [
        Batch(
            grown(images[start : start + 3]),
            grown(masks[start : start + 3])[:, None],
            tuple(names[start : start + 3]),
            tuple(groups[start : start + 3]),
        )
        for start in range(0, count, 3)
    ]


def from_mask(mask, source):
    noise = torch.randn(2, SIDE, SIDE, generator=source)
    return torch.cat([noise, (3 * mask + noise[1] * 2)[None]])


def noise_only(mask, source):
    return torch.randn(3, SIDE, SIDE, generator=source)


class Cells(nn.Module):
    """A network whose only features are the means of the cells."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.AvgPool2d(CELL)

    def forward(self, images):
        return self.features(images)[:, :1]


@pytest.fixture
def cells(run, tiny_config):
    """A run of that network on images of three channels."""
    data = tiny_config.data.model_copy(update={"channels": 3})
    config = tiny_config.model_copy(update={"data": data})
    return replace(run, network=Cells(), config=config, name="cells", arm="cnn")


def sides(paint, train=9, validation=6, test=12, **options):
    counts = {"train": train, "validation": validation, "test": test}
    made_once = {side: made(side, n, 3, paint, **options) for side, n in counts.items()}
    return made_once.__getitem__


def pooled(table, **place):
    rows = table[table["image"] == ""]
    for name, value in place.items():
        rows = rows[rows[name] == value]
    assert len(rows) == 1
    return rows.iloc[0]


def test_features_that_hold_the_mask_are_read_and_those_of_another_mask_are_not(cells):
    table = decode_table(cells, sides(from_mask), ["features"], [1, 4])
    of_all = {"training_images": 9}
    assert pooled(table, input="features", null="", **of_all)["auroc"] == 1.0
    assert pooled(table, input="features", null="", **of_all)["dice"] == 1.0
    chance = math.sqrt((12 * 36 + 1) / (12 * 72 * 360))
    other = pooled(table, input="features", null="other-image", **of_all)["auroc"]
    assert abs(other - 0.5) < 4 * chance
    position = pooled(table, null="position", **of_all)["auroc"]
    assert 0.5 < position < 0.9  # rectangles keep away from the edges
    assert sorted(table["training_images"].unique()) == [1, 4, 9]
    assert (table["site"] == "features").all()


def test_objects_smaller_than_a_cell_are_told_and_give_no_empty_table(cells):
    found = sides(from_mask)

    def small(side):
        if side != "test":
            return found(side)
        thin = torch.zeros(SIDE * CELL, SIDE * CELL)
        thin[0, 0] = 1
        return [replace(one, masks=thin.expand_as(one.masks)) for one in found(side)]

    with pytest.raises(NotMeasurable, match="no token of a test image is foreground"):
        decode_table(cells, small, ["features"], [1])


def test_noise_adds_nothing_to_the_position(cells):
    images = sides(noise_only, train=60, validation=30, test=60)
    table = decode_table(cells, images, ["features"], [])
    n = 60 * 36
    error = math.sqrt((n + 1) / (12 * n / 6 * n * 5 / 6))
    assert abs(pooled(table, input="features", null="")["auroc"] - 0.5) < 4 * error
    position = pooled(table, null="position")["auroc"]
    together = pooled(table, input="features+position", null="")["auroc"]
    assert position > 0.6
    assert together == pytest.approx(position, abs=0.01)


def test_the_rows_of_an_image_are_those_of_numpy_alone(cells):
    images = sides(from_mask)
    table = decode_table(cells, images, ["features"], [])

    def tokens(side):
        x = np.concatenate([b.images.numpy() for b in images(side)])[..., ::CELL, ::CELL]
        y = np.concatenate([b.masks.numpy() for b in images(side)])[:, 0, ::CELL, ::CELL]
        place = position_features((SIDE, SIDE)).numpy()
        x = x.transpose(0, 2, 3, 1).reshape(len(x), 36, 3).astype(float)
        return np.concatenate([x, np.tile(place, (len(x), 1, 1))], -1), y.reshape(len(y), 36)

    columns = {"features": slice(0, 3), "position": slice(3, 38), "features+position": slice(0, 38)}
    for name, chosen in columns.items():
        (x, y), (v, w), (t, u) = (tokens(side) for side in ("train", "validation", "test"))
        x, v, t = (part[..., chosen] for part in (x, v, t))
        mean, sd = x.mean((0, 1)), x.std((0, 1))
        flat = ((x - mean) / sd).reshape(-1, x.shape[-1])
        share = y.mean()
        best = None
        for penalty in PENALTIES:
            gram = flat.T @ flat / len(flat) + penalty * np.eye(flat.shape[1])
            weights = np.linalg.solve(gram, flat.T @ (y.ravel() - share) / len(flat))
            error = np.mean((((v - mean) / sd) @ weights + share - w) ** 2)
            if best is None or error < best[0]:
                best = error, penalty, weights
        scores = (((t - mean) / sd) @ best[2] / (flat @ best[2]).std()).round(9)
        null = "position" if name == "position" else ""
        rows = table[(table["input"] == name) & (table["null"] == null) & (table["image"] != "")]
        assert (rows["penalty"] == best[1]).all()
        for (_, row), values, labels in zip(rows.iterrows(), scores, u, strict=True):
            inside, outside = values[labels > 0.5], values[labels < 0.5]
            area = (inside[:, None] > outside).mean() + (inside[:, None] == outside).mean() / 2
            assert row["auroc"] == pytest.approx(area, abs=1e-9), name
            assert row["foreground"] == len(inside)


def test_subsets_take_images_with_foreground_first_and_every_group_once_before_one_twice(cells):
    groups = ["a", "a", "a", "b", "b", "b", "c", "c", "c"]
    train = made("train", 9, 3, from_mask, groups=groups, empty=(0, 3, 6))
    plan = Plan.of(cells, train, ["features"], [3, 6, 100])
    assert plan.sizes == [3, 6, 9]
    shells = [plan.shell(f"train{index}") for index in range(9)]
    assert [shells[index] for index in (0, 3, 6)] == [2, 2, 2]  # no foreground
    for group in range(3):
        assert sorted(shells[3 * group : 3 * group + 3]) == [0, 1, 2]
    again = Plan.of(cells, train[::-1], ["features"], [3, 6])
    assert shells == [again.shell(f"train{index}") for index in range(9)]


def test_a_subset_is_decoded_alike_whichever_others_there_are(cells):
    images = sides(from_mask, empty=(2,))
    tables = [decode_table(cells, images, ["features"], sizes) for sizes in ([3], [1, 3, 100])]
    three = [table[table["training_images"] == 3] for table in tables]
    assert three[0][KEYS].to_numpy().tolist() == three[1][KEYS].to_numpy().tolist()
    assert three[0]["auroc"].tolist() == pytest.approx(three[1]["auroc"].tolist(), nan_ok=True)
    assert sorted(tables[1]["training_images"].unique()) == [1, 3, 9]
    empty = three[0][(three[0]["image"] == "test2") & (three[0]["null"] == "")]
    assert (empty["foreground"] == 0).all()
    assert empty[["auroc", "average_precision", "dice"]].isna().all(axis=None)


def test_every_input_null_and_site_has_its_rows(run, some_batches, tiny_config, fingerprint):
    untrained = build_network(tiny_config.model_copy(update={"seed": 5}))
    before = fingerprint(run.network), fingerprint(untrained)
    table = decode_table(
        run, lambda side: some_batches, ["before", "layer", "logits"], [2], untrained=untrained
    )
    assert (fingerprint(run.network), fingerprint(untrained)) == before
    counts = table.groupby(["site", "input", "null", "training_images"]).size()
    assert (counts == 11).all()
    found = set(table[["input", "null"]].itertuples(index=False, name=None))
    assert found == {
        ("features", ""), ("features+position", ""), ("position", "position"),
        ("features", "other-image"), ("features", "untrained"),
    }  # fmt: skip
    assert len(counts) == 3 * 5 * 2
    for name in ("auroc", "average_precision", "dice"):
        assert table[name].dropna().between(0, 1).all()
    assert set(table["penalty"].dropna()) <= set(PENALTIES)
    assert table.loc[table["site"] == "logits", "tokens"].max() == 10 * 1024


def test_the_same_call_gives_the_same_bits_and_survives_the_file(run, some_batches, tmp_path):
    first = decode_table(run, lambda side: some_batches, ["after"])
    assert first.equals(decode_table(run, lambda side: some_batches, ["after"]))
    write_table(first, tmp_path / "decode.csv", DECODE)
    assert first.equals(read_table(tmp_path / "decode.csv", DECODE))


def test_volumes_are_decoded_too(run, tiny_config):
    data = tiny_config.data.model_copy(update={"image_size": (16, 16, 16)})
    config = tiny_config.model_copy(update={"data": data})
    source = generator("volumes")
    masks = torch.zeros(4, 1, 8, 8, 8)
    masks[:, :, 2:6, 2:6, 2:6] = 1
    batch = Batch(
        masks + 0.1 * torch.randn(masks.shape, generator=source),
        masks,
        tuple("abcd"),
        tuple("abcd"),
    )
    volumes = replace(run, network=nn.Sequential(nn.AvgPool3d(2)), config=config)
    table = decode_table(volumes, lambda side: [batch], ["0"], [])
    assert pooled(table, input="features", null="")["auroc"] == 1.0
    assert pooled(table, null="position")["auroc"] == 1.0  # the same place in every volume


def test_what_cannot_be_decoded_is_said_in_one_line(run, cells, some_batches):
    with pytest.raises(SiteError, match=r"unknown site 'befor'\. Did you mean 'before'"):
        decode_table(run, lambda side: some_batches, ["befor"])
    with pytest.raises(UserError, match="0 training images: give at least 1"):
        decode_table(run, lambda side: some_batches, ["before"], [0])
    nothing = sides(from_mask, empty=range(12))
    with pytest.raises(DataError, match=r"no training image of run cells has any foreground"):
        decode_table(cells, nothing, ["features"])
    with pytest.raises(DataError, match=r"has 3 channels, but run llm-0 was trained on 1"):
        decode_table(run, sides(from_mask), ["before"])
    images = sides(from_mask)
    with pytest.raises(DataError, match="there are no images to probe run cells on"):
        decode_table(cells, lambda side: [] if side == "test" else images(side), ["features"])


def test_one_training_image_has_no_other_mask_to_lend(cells):
    table = decode_table(cells, sides(from_mask, train=1), ["features"])
    assert set(table["null"]) == {"", "position"}
    assert set(table["training_images"]) == {1}


def test_penalties_are_never_chosen_on_the_images_that_are_tested(
    trained: dict[str, Path], tiny_data: Path
) -> None:
    run = load(trained["cnn-0"])
    own = run.split
    assert sides_of(run) == {"train": own.train, "validation": own.val, "test": own.test}
    published = dataclasses.replace(own, val=own.test, validation_is_test=True)
    as_published = dataclasses.replace(run, split=published)
    for sides, tested in (
        (sides_of(run, "val"), own.val),
        (sides_of(as_published), own.test),
    ):
        assert sides["test"] == tested
        assert set(sides["train"]) | set(sides["validation"]) == set(own.train)
        assert not set(sides["train"]) & set(sides["validation"])
        assert len(sides["validation"]) == len(own.train) // 5  # every image is a group
    alone = dataclasses.replace(published, train=own.train[:1])
    with pytest.raises(DataError, match=r"all training images are of disc\d\d, so that none can"):
        sides_of(dataclasses.replace(run, split=alone))


def test_a_run_without_a_split_is_decoded_on_a_division_by_groups(
    trained: dict[str, Path], tiny_data: Path
) -> None:
    run = load(trained["cnn-0"])
    unknown = dataclasses.replace(run, split=dataclasses.replace(run.split, train=(), test=()))
    with pytest.raises(DataError, match="does not say which images it was trained on: add --data"):
        sides_of(unknown)
    first, second, again = (sides_of(unknown, data=tiny_data, split_seed=n) for n in (0, 1, 0))
    assert first == again != second
    assert sorted(len(images) for images in first.values()) == [8, 8, 24]


def test_the_command_writes_table_and_figures(trained: dict[str, Path], tmp_path: Path) -> None:
    given = ("--ckpt", trained["cnn-0"], "--ckpt", trained["llm-0"])
    result = invoke("decode", *given, "--images", "2", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    table = read_table(tmp_path / "decode.csv", DECODE)
    known = load(trained["llm-0"])
    assert set(table["arm"]) == {"cnn", "llm"}
    assert set(table["image"]) == {"", *known.split.test}
    assert set(table["training_images"]) == {2, len(known.split.train)}
    assert set(table["null"]) == {"", "position", "other-image", "untrained"}
    assert "position" in result.stdout
    assert str(tmp_path / "decode.csv") in result.stdout
    for name in ("decode", "decode-images"):
        assert (tmp_path / "figures" / f"{name}.svg").stat().st_size > 1000


def test_the_command_refuses_in_one_line(trained: dict[str, Path], tmp_path: Path) -> None:
    given = ("--ckpt", trained["cnn-0"], "--out", tmp_path)
    assert "--images holds 'few': give whole numbers from 1, such as 1,4,16" in refused(
        "decode", *given, "--images", "few"
    )
    assert "unknown split 'train'" in refused("decode", *given, "--split", "train")
    assert list(tmp_path.iterdir()) == []


def test_the_table_of_the_command_is_one_call_in_python(
    trained: dict[str, Path], tmp_path: Path
) -> None:
    probe, checkpoint = find("decode"), trained["llm-0"]
    found = take(probe, [Source(checkpoint)], probe.with_options(sites=("layer",), images=()))
    given = ("--sites", "layer", "--images", "", "--out", tmp_path)
    assert invoke("decode", "--ckpt", checkpoint, *given).exit_code == 0
    pd.testing.assert_frame_equal(found.table, read_table(tmp_path / "decode.csv", DECODE))
