"""The probe `maps`: its table, its gallery and its command."""

from __future__ import annotations

import dataclasses
import io
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from commands import invoke
from torch import nn

from llm4seg_probe.config import Config
from llm4seg_probe.data.batches import Batch
from llm4seg_probe.errors import DataError, SiteError
from llm4seg_probe.measures.activation import activation_map, map_iou, map_measures, resized_maps
from llm4seg_probe.probes.maps import MAPS
from llm4seg_probe.probes.maps.table import maps_table
from llm4seg_probe.tables import read_table, write_table

KEYS = list(MAPS.keys)
MEASURES = list(MAPS.values)


class Passing(nn.Module):
    """A network whose logits are its image, so that every map and score is known."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Identity()

    def forward(self, images):
        return self.features(images)


@dataclasses.dataclass(frozen=True)
class KnownRun:
    name: str
    dataset: str
    arm: str
    seed: int
    config: Config
    network: nn.Module


def known_run(classes=("foreground",)) -> KnownRun:
    values = {"data": {"classes": classes, "image_size": [16, 16], "channels": 1}, "arm": "cnn"}
    return KnownRun("known", "made", "cnn", 3, Config.model_validate(values), Passing().eval())


def squares(images: torch.Tensor, masks: torch.Tensor, groups: str) -> Batch:
    return Batch(images, masks, tuple(f"image{i}" for i in range(len(groups))), tuple(groups))


def four_squares() -> torch.Tensor:
    """A square in each corner: (4, 1, 16, 16)."""
    masks = torch.zeros(4, 1, 16, 16)
    for index, (row, column) in enumerate([(0, 0), (0, 8), (8, 0), (8, 8)]):
        masks[index, :, row : row + 8, column : column + 8] = 1
    return masks


def test_a_map_equal_to_the_mask_is_perfect_and_another_images_map_is_not():
    masks = four_squares()
    table, _ = maps_table(
        known_run(), [squares(masks, masks, "abcd")], ["features"], thresholds=["otsu", 0.5]
    )
    own, other = (table[table["null"] == null] for null in ("", "other-image"))
    assert own["iou"].tolist() == other["iou"].add(1).tolist() == [1.0] * 8
    assert own["auroc"].tolist() == [1.0] * 8
    # 64 of the 192 background pixels are as bright as none of the foreground.
    assert other["auroc"].tolist() == pytest.approx([1 / 3] * 8)
    assert own["inverted"].tolist() == [False] * 8
    assert other["inverted"].tolist() == [True] * 8
    assert table["threshold"].unique().tolist() == ["otsu", "0.5"]
    assert table[["run", "dataset", "arm", "seed"]].drop_duplicates().values.tolist() == [
        ["known", "made", "cnn", 3]
    ]


def test_an_inverted_map_is_named_in_a_column():
    masks = four_squares()
    table, _ = maps_table(known_run(), [squares(1 - masks, masks, "abcd")], ["features"])
    own = table[table["null"] == ""]
    assert own["inverted"].all()
    assert own["auroc"].eq(0).all()


def test_images_without_foreground_have_empty_values_and_stay_out_of_the_null_band():
    masks = four_squares()
    masks[1] = 0
    table, arrays = maps_table(known_run(), [squares(four_squares(), masks, "abcd")], ["features"])
    empty = table[table["image"] == "image1"]
    assert len(empty) == 3  # one per threshold, none in the null
    assert empty[MEASURES].isna().all(axis=None)
    assert empty["inverted"].isna().all()
    assert "image1" not in arrays["image_names"]


def test_each_class_is_measured_by_itself():
    masks = torch.cat([four_squares(), four_squares().flip(0)], 1)
    masks[0, 1] = 0
    batch = squares(four_squares(), masks, "abcd")
    table, arrays = maps_table(known_run(("left", "right")), [batch], ["features"], null_images=0)
    own = table.query("threshold == 'otsu'").set_index(["class", "image"])["iou"]
    assert own["left"].tolist() == [1, 1, 1, 1]
    assert math.isnan(own["right"]["image0"])
    assert own["right"].tolist()[1:] == [0, 0, 0]
    shown = arrays["image_names"].tolist().index("image3")
    assert arrays["masks"][shown, 0, 0] == 2
    assert arrays["masks"][shown, 15, 15] == 1
    assert arrays["masks"][shown, 0, 15] == 0


def test_the_table_is_that_of_the_measures_on_hooked_features(run, some_batches):
    table, _ = maps_table(
        run, some_batches, ["before", "encoder.2"], reductions=["l2", "mean"], null_images=0
    )
    seen: dict[str, list[torch.Tensor]] = {"before": [], "encoder.2": []}
    booster = run.network.get_submodule("encoder5").booster
    handles = [
        booster.register_forward_pre_hook(lambda _, inputs: seen["before"].append(inputs[0])),
        run.network.get_submodule("encoder2").register_forward_hook(
            lambda _, inputs, output: seen["encoder.2"].append(output)
        ),
    ]
    with torch.no_grad():
        for batch in some_batches:
            run.network(batch.images)
    for handle in handles:
        handle.remove()
    masks = torch.cat([batch.masks for batch in some_batches])[:, 0] > 0.5
    rows = table.set_index(["site", "reduction", "threshold"])
    for site, parts in seen.items():
        features = torch.cat(parts)
        for reduction in ("l2", "mean"):
            tokens = features.flatten(2).transpose(1, 2)
            maps = activation_map(tokens, features.shape[2:], reduction)
            large = resized_maps(maps, (32, 32))
            for threshold in ("otsu", 0.5, "oracle"):
                found = rows.loc[(site, reduction, str(threshold))]
                expected = {"iou": map_iou(large, masks, threshold), **map_measures(large, masks)}
                for name, value in expected.items():
                    assert found[name].to_numpy() == pytest.approx(value.numpy(), nan_ok=True), (
                        site,
                        name,
                    )


def test_the_untrained_network_is_a_null_band(run, plain_run, some_batches, tmp_path):
    table, _ = maps_table(run, some_batches, untrained=plain_run.network, null_images=5)
    counts = table.groupby(["null", "site"]).size().to_dict()
    assert counts == {
        ("", "after"): 30, ("", "before"): 30,
        ("other-image", "after"): 15, ("other-image", "before"): 15,
        ("untrained", "after"): 15, ("untrained", "before"): 15,
    }  # fmt: skip
    write_table(table, tmp_path / "maps.csv", MAPS)
    again = read_table(tmp_path / "maps.csv", MAPS)
    columns = [*KEYS, *MEASURES]
    pd.testing.assert_frame_equal(table[columns], again[columns])


def test_the_network_is_left_as_it_was(run, some_batches, fingerprint):
    before = fingerprint(run.network)
    maps_table(run, some_batches)
    assert fingerprint(run.network) == before


def test_the_gallery_holds_plain_arrays_that_fit_together(run, some_batches):
    _, arrays = maps_table(run, some_batches, ["before", "after"], gallery=3)
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    stream.seek(0)
    read = np.load(stream, allow_pickle=False)
    assert {name: (read[name].shape, read[name].dtype.kind) for name in read.files} == {
        "image_names": ((3,), "U"),
        "images": ((3, 32, 32), "u"),
        "masks": ((3, 32, 32), "u"),
        "maps": ((2, 3, 2, 2), "f"),
        "map_run": ((2,), "U"),
        "map_arm": ((2,), "U"),
        "map_site": ((2,), "U"),
        "map_seed": ((2,), "i"),
        "predictions": ((1, 3, 32, 32), "u"),
        "prediction_run": ((1,), "U"),
        "prediction_arm": ((1,), "U"),
        "prediction_seed": ((1,), "i"),
    }
    assert read["maps"].dtype == np.float32
    assert read["maps"].min() == 0
    assert read["maps"].max() == 1
    assert read["images"].dtype == read["masks"].dtype == read["predictions"].dtype == np.uint8
    assert read["map_site"].tolist() == ["before", "after"]


def test_the_gallery_shows_each_image_with_its_own_mask_map_and_prediction(run, some_batches):
    _, arrays = maps_table(run, some_batches, ["after"], gallery=4)
    whole = {
        name: (image, mask)
        for batch in some_batches
        for name, image, mask in zip(batch.names, batch.images, batch.masks, strict=True)
    }
    for index, name in enumerate(arrays["image_names"]):
        image, mask = whole[name]
        assert np.array_equal(arrays["masks"][index], mask[0].numpy().astype(np.uint8))
        grey = arrays["images"][index].astype(float)
        assert np.corrcoef(grey.ravel(), image[0].numpy().ravel())[0, 1] > 0.99
        with torch.no_grad():
            logits = run.network(image[None])[0, 0]
        agree = (arrays["predictions"][0, index] == (logits.sigmoid() > 0.5).numpy()).mean()
        assert agree > 0.99


def test_the_gallery_is_the_same_for_every_run_and_order_and_shows_different_groups():
    masks = four_squares()
    names = ("a1", "a2", "a3", "b1")
    batch = Batch(masks, masks, names, ("a", "a", "a", "b"))
    turned = Batch(masks.flip(0), masks.flip(0), names[::-1], ("b", "a", "a", "a"))
    shown = [
        maps_table(known_run(), [one], ["features"], gallery=2)[1]["image_names"].tolist()
        for one in (batch, turned)
    ]
    assert shown[0] == shown[1]
    assert "b1" in shown[0]


def test_sites_of_different_grids_share_the_finest(run, some_batches):
    _, arrays = maps_table(run, some_batches, ["before", "encoder.2"], gallery=2)
    assert arrays["maps"].shape == (2, 2, 16, 16)


def test_a_gallery_of_nothing_is_empty(run, some_batches):
    _, arrays = maps_table(run, some_batches, gallery=0)
    assert arrays["image_names"].shape == (0,)
    assert arrays["images"].shape == (0, 0, 0)
    assert arrays["maps"].shape == (2, 0, 0, 0)
    assert arrays["predictions"].shape == (1, 0, 0, 0)


def test_of_a_volume_the_plane_with_most_foreground_is_shown():
    values = {"data": {"image_size": [16, 16, 16], "channels": 1}, "arm": "cnn"}
    run = dataclasses.replace(known_run(), config=Config.model_validate(values))
    masks = torch.zeros(2, 1, 6, 8, 8)
    masks[0, 0, 1, 2:4, 2:4] = 1
    masks[0, 0, 4, 2:7, 2:7] = 1
    masks[1, 0, 2, :, 3] = 1
    batch = Batch(3 * masks - 1, masks, ("one", "two"), ("1", "2"))
    table, arrays = maps_table(run, [batch], ["features"])
    assert table.query("null == '' and threshold == 'otsu'")["iou"].tolist() == [1, 1]
    for name, plane, index in (("one", 4, 0), ("two", 2, 1)):
        shown = arrays["image_names"].tolist().index(name)
        expected = masks[index, 0, plane].numpy()
        assert np.array_equal(arrays["masks"][shown], expected)
        assert np.array_equal(arrays["maps"][0, shown], expected)
        assert np.array_equal(arrays["predictions"][0, shown], expected)


def test_bad_input_is_named(run, some_batches):
    with pytest.raises(SiteError, match=r"unknown site 'aftr'\. Did you mean 'after'\?"):
        maps_table(run, some_batches, ["before", "aftr"])
    empty = [dataclasses.replace(b, masks=torch.zeros_like(b.masks)) for b in some_batches]
    with pytest.raises(DataError) as error:
        maps_table(run, empty)
    assert str(error.value) == (
        "no image that run llm-0 was probed on has any foreground: activation maps are compared "
        "with masks; give images that have some"
    )
    batch = some_batches[0]
    coloured = dataclasses.replace(batch, images=batch.images.repeat(1, 3, 1, 1))
    with pytest.raises(DataError, match=r"has 3 channels, but run llm-0 was trained on 1"):
        maps_table(run, [coloured])


def test_the_command_writes_table_arrays_and_figures(
    trained: dict[str, Path], tmp_path: Path
) -> None:
    given = ("--ckpt", trained["cnn-0"], "--ckpt", trained["llm-0"], "--gallery", 2)
    result = invoke("maps", *given, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert {"cnn", "llm"} == set(pd.read_csv(tmp_path / "maps.csv")["arm"])
    assert str(tmp_path / "maps.csv") in result.stdout
    with np.load(tmp_path / "maps.npz", allow_pickle=False) as stored:
        assert stored["map_levels"].shape[:2] == (4, 2)
    drawn = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"activation-iou.svg", "gallery.svg"} <= drawn
