"""The probe `attribute`: its table, its figures and its command."""

from __future__ import annotations

import copy
import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from commands import invoke, refused
from legible import legible
from matplotlib.colors import to_hex
from torch import nn

from llm4seg_probe.config import Config
from llm4seg_probe.data.batches import Batch
from llm4seg_probe.drawing.style import ARM_STYLES
from llm4seg_probe.errors import DataError, SiteError, UserError
from llm4seg_probe.probes.attribute import ATTRIBUTE, Options
from llm4seg_probe.probes.attribute import figure as attribute_figure
from llm4seg_probe.probes.attribute.methods import (
    METHODS,
)
from llm4seg_probe.probes.attribute.table import attribution_table
from llm4seg_probe.randomness import generator, seeded
from llm4seg_probe.tables import read_table, write_table

FAST = Options(target="mask", steps=6, window=16, boxes=4, changes=2)
ARMS = ("cnn", "llm")


@pytest.fixture(scope="module")
def measured(run, plain_run, some_batches):
    return attribution_table(
        run,
        some_batches,
        dataclasses.replace(
            FAST, sites=("input", "after"), methods=("integrated-gradients", "gradcam"), images=3
        ),
        untrained=plain_run_as_other(run),
        gallery=2,
    )


def plain_run_as_other(run) -> nn.Module:
    """Another network with the same sites: the run's, its last weights turned around."""
    other = copy.deepcopy(run.network)
    with torch.no_grad():
        other.Conv_1x1.weight.neg_()
    return other


def test_the_table_has_a_row_per_place_image_and_null(measured, tmp_path) -> None:
    table, _ = measured
    counts = table.groupby(["site", "method", "null"]).size()
    assert set(counts) == {3}
    assert len(counts) == 2 * 2 * 3
    own = table[table["null"] == ""]
    assert own.loc[own["method"] == "gradcam", "completeness_gap"].isna().all()
    assert own.drop(columns="completeness_gap")[list(ATTRIBUTE.values)[3:]].notna().all(axis=None)
    assert own["foreground_share"].between(0, 1).all()
    assert own["unexplained"].between(0, 1 + 1e-6).all()
    other = table[table["null"] == "other-image"]
    assert other["infidelity"].isna().all()
    keys = ["site", "method", "image"]
    shares = own.set_index(keys)["mask_share"] - other.set_index(keys)["mask_share"]
    assert (shares != 0).any()
    write_table(table, tmp_path / "attribute.csv", ATTRIBUTE)
    assert len(read_table(tmp_path / "attribute.csv", ATTRIBUTE)) == len(table)


def test_turned_logits_have_turned_scores_in_the_null(measured) -> None:
    table, _ = measured
    rows = table[table["site"] == "input"].set_index(["null", "method", "image"])
    ours, null = (rows.loc[name, ["score", "baseline_score"]] for name in ("", "untrained"))
    difference = ours["score"] - ours["baseline_score"]
    assert difference.to_numpy() == pytest.approx(
        -(null["score"] - null["baseline_score"]).to_numpy(), rel=1e-3
    )


def test_the_arrays_are_plain_and_signed(measured) -> None:
    _, arrays = measured
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    stream.seek(0)
    read = np.load(stream, allow_pickle=False)
    assert read["maps"].shape == (4, 2, 32, 32)
    assert read["map_site"].tolist() == ["input", "input", "after", "after"]
    assert read["map_method"].tolist() == ["integrated-gradients", "gradcam"] * 2
    assert read["map_class"].tolist() == ["foreground"] * 4
    assert read["maps"].min() < 0 < read["maps"].max()


def test_a_class_that_is_not_predicted_has_empty_values(run, some_batches) -> None:
    network = copy.deepcopy(run.network)
    with torch.no_grad():
        network.Conv_1x1.bias.fill_(-1e4)
    silent = dataclasses.replace(run, network=network)
    with pytest.raises(DataError, match=r"run llm-0 predicts no foreground .* \(--target mask\)"):
        attribution_table(silent, some_batches, Options(images=2, steps=2))
    classes = {"classes": ("left", "right"), "image_size": (16, 16), "channels": 1}
    config = Config.model_validate({"data": classes, "arm": "cnn"})

    class Passing(nn.Module):
        def forward(self, seen):
            return torch.cat([seen, -seen.abs()], 1)

    known = dataclasses.replace(run, network=Passing().eval(), config=config)
    masks = torch.zeros(2, 2, 16, 16)
    masks[:, :, :4] = 1
    batch = Batch(2 * masks[:, :1] - 1, masks, ("one", "two"), ("1", "2"))
    table, arrays = attribution_table(
        known, [batch], Options(methods=("integrated-gradients",), steps=2)
    )
    own = table[table["null"] == ""].set_index("class")
    assert own.loc["left", "foreground_share"].tolist() == [1, 1]
    assert own.loc["right", "foreground_share"].isna().all()
    assert not arrays["maps"][arrays["map_class"] == "right"].any()


def test_volumes_are_attributed_too() -> None:
    values = {"data": {"image_size": [16, 16, 16], "channels": 1}, "arm": "cnn"}
    with seeded("test", "volume"):
        network = nn.Conv3d(1, 1, 3, padding=1).eval()

    @dataclasses.dataclass(frozen=True)
    class Known:
        name: str
        dataset: str
        arm: str
        seed: int
        config: Config
        network: nn.Module

    run = Known("known", "made", "cnn", 0, Config.model_validate(values), network)
    masks = torch.zeros(1, 1, 6, 8, 8)
    masks[..., 2:4, 2:6, 2:6] = 1
    draws = torch.randn(masks.shape, generator=generator("test", "volume"))
    options = Options(methods=tuple(METHODS), target="mask", steps=3, window=4, boxes=4, changes=1)
    table, arrays = attribution_table(run, [Batch(draws, masks, ("v",), ("g",))], options)
    adds_up = table[table["method"] != "gradcam"]["completeness_gap"]
    assert adds_up.abs().max() < 1e-4
    assert arrays["maps"].shape == (4, 1, 8, 8)


def test_the_network_is_left_as_it_was(run, some_batches, fingerprint) -> None:
    before = fingerprint(run.network)
    one = dataclasses.replace(FAST, sites=("tokens",), methods=tuple(METHODS), images=1)
    attribution_table(run, some_batches, one)
    assert fingerprint(run.network) == before
    one = dataclasses.replace(FAST, sites=("function",), images=1)
    with pytest.raises(SiteError, match="gives tokens, whose grid the network does not say"):
        attribution_table(run_of_tokens(run), some_batches, one)
    assert fingerprint(run.network) == before


def run_of_tokens(run):
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.function = nn.Identity()

        def forward(self, seen):
            return self.function(seen.flatten(2)).reshape(seen.shape)

    return dataclasses.replace(run, network=Tokens().eval())


def test_bad_input_is_named(run, some_batches) -> None:
    with pytest.raises(SiteError, match=r"unknown site 'aftr'\. Did you mean 'after'\?"):
        attribution_table(run, some_batches, Options(sites=("aftr",)))
    with pytest.raises(UserError, match=r"unknown method 'gradcm'\. Did you mean 'gradcam'\?"):
        attribution_table(run, some_batches, Options(methods=("gradcm",)))
    with pytest.raises(UserError, match=r"unknown target 'masks'\. Did you mean 'mask'\?"):
        Options(target="masks")
    with pytest.raises(UserError, match="steps is 0: give at least 1"):
        Options(steps=0)
    empty = [dataclasses.replace(b, masks=torch.zeros_like(b.masks)) for b in some_batches]
    with pytest.raises(DataError, match="has any foreground: attributions are compared with masks"):
        attribution_table(run, empty)
    coloured = [
        dataclasses.replace(b, images=b.images.repeat(1, 3, 1, 1)) for b in some_batches[:1]
    ]
    with pytest.raises(DataError, match="has 3 channels, but run llm-0 was trained on 1"):
        attribution_table(run, coloured)


def attribute_table() -> pd.DataFrame:
    rows = []
    for arm in ARMS:
        for seed in (0, 1):
            for null in ("", "untrained", "other-image"):
                for site, method in (("input", "occlusion"), ("after", "gradcam")):
                    for image in range(4):
                        share = 0.2 + 0.1 * image + 0.2 * (arm == "llm") - 0.1 * (null != "")
                        rows.append(
                            {
                                "run": f"{arm}-{seed}", "dataset": "d", "arm": arm, "seed": seed,
                                "site": site, "method": method, "class": "c", "null": null,
                                "image": f"i{image}", "group": "g", "foreground_share": share,
                                "mask_share": 0.1,
                            }
                        )  # fmt: skip
    return pd.DataFrame(rows)


def attribute_arrays() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    keys = [(arm, method) for arm in ARMS for method in ("occlusion", "gradcam")]
    masks = np.zeros((2, 16, 16), np.uint8)
    masks[:, 4:9, 4:9] = 1
    return {
        "image_names": np.array(["a", "b"]),
        "images": draw.integers(0, 255, (2, 16, 16)).astype(np.uint8),
        "masks": masks,
        "maps": draw.normal(size=(4, 2, 16, 16)).astype(np.float32),
        "map_arm": np.array([arm for arm, _ in keys]),
        "map_method": np.array([method for _, method in keys]),
        "map_site": np.array(["input"] * 4),
        "map_class": np.array(["c"] * 4),
        "map_seed": np.zeros(4, int),
    }


def test_shares_are_the_means_of_the_runs_with_the_area_and_null_bands() -> None:
    panels = attribute_figure.figure(attribute_table()).axes
    assert [axes.get_title(loc="left") for axes in panels] == [
        "Occlusion, the image",
        "GradCAM, after the layer",
    ]
    for axes in panels:
        assert axes.lines[0].get_xdata() == [0.1, 0.1]
        dots = [found for found in axes.collections if len(found.get_offsets()) == 2]
        assert [found.get_offsets()[0, 0] for found in dots[:1]] == pytest.approx([0.35])
        assert {to_hex(found.get_facecolor()[0]) for found in dots} >= {
            ARM_STYLES[arm].colour.lower() for arm in ARMS
        }
        assert len(axes.patches) == 2 * 2  # a band per arm and null


def test_attribution_maps_are_signed_about_zero() -> None:
    drawn = attribute_figure.maps_figure(attribute_arrays())
    images = [image for axes in drawn.axes for image in axes.images]
    signed = [image for image in images if image.get_cmap().name == "RdBu_r"]
    assert len(images) == 2 * 2 * 3
    assert len(signed) == 2 * 2 * 2
    for image in signed:
        low, high = image.get_clim()
        assert low == -high
        assert high == pytest.approx(np.abs(image.get_array()).max())


@pytest.mark.slow
def test_the_command_writes_table_arrays_and_figures(
    trained: dict[str, Path], tmp_path: Path
) -> None:
    result = invoke(
        "attribute", "--ckpt", trained["cnn-0"], "--ckpt", trained["llm-0"], "--site",
        "input,after", "--method", "integrated-gradients,gradcam", "--target", "mask", "--steps",
        3, "--images", 2, "--out", tmp_path, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert {Path(path).stem for path in found["figures"]} == {"attribution", "attribution-maps"}
    assert all(Path(path).stat().st_size > 1000 for path in found["figures"])
    frame = pd.read_csv(tmp_path / "attribute.csv")
    assert set(frame["arm"]) == {"cnn", "llm"}
    assert len(found["rows"]) == len(frame)
    with np.load(tmp_path / "attribute.npz", allow_pickle=False) as stored:
        assert all(stored[name].dtype.kind in "Uifu" for name in stored.files)


def test_the_command_refuses_in_one_line(trained: dict[str, Path], tmp_path: Path) -> None:
    given = ("attribute", "--ckpt", trained["cnn-0"], "--out", tmp_path)
    for option, value, message in (
        ("--site", "aftr", "unknown site 'aftr'. Did you mean 'after'?"),
        ("--method", "occlude", "unknown method 'occlude'. Did you mean 'occlusion'?"),
        ("--baseline", "black", "unknown baseline 'black'. Valid: zero, mean"),
    ):
        assert message in refused(*given, option, value)
    assert list(tmp_path.iterdir()) == []


def test_its_figures_are_legible_at_a_columns_width() -> None:
    legible(attribute_figure.figure(attribute_table()))
    legible(attribute_figure.maps_figure(attribute_arrays()))
