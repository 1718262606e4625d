"""The probe `attention`: its table, its figures and its command."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from commands import invoke, refused

from llm4seg_probe.activations.nulls import untrained
from llm4seg_probe.config import Config
from llm4seg_probe.data.batches import Batch
from llm4seg_probe.drawing.style import ARM_STYLES, CENTIMETRE, COLUMN, arm_style
from llm4seg_probe.errors import DataError, SiteError
from llm4seg_probe.models.network import build_network
from llm4seg_probe.probes.attention import ATTENTION
from llm4seg_probe.probes.attention.figure import PANELS, figure, maps_figure
from llm4seg_probe.probes.attention.table import attention_table
from llm4seg_probe.probes.attention.weights import attending, centre_of_largest_region, token_of
from llm4seg_probe.tables import conform, read_table, write_table
from llm4seg_probe.training.stored_run import load

RATIOS = [name for name in ATTENTION.values if name.endswith("_ratio")]
GRID = (4, 4)
ARMS = ["llm", "transformer"]
NULLS = ["", "shuffled", "untrained", "other-image"]
HEADS = 3


def batch_of(count: int, size: tuple[int, ...] = (64, 64), first: int = 0) -> Batch:
    """Noise with a bright square that moves from image to image, about half the image wide."""
    masks = torch.zeros(count, 1, *size)
    for index in range(count):
        at = 8 * ((first + index) % 4)
        masks[(index, 0, ..., *[slice(at, at + 32)] * 2)] = 1
    noise = torch.Generator().manual_seed(first)
    images = torch.randn(count, 1, *size, generator=noise) + 2 * masks
    names = tuple(f"image{first + index}" for index in range(count))
    return Batch(images, masks, names, tuple(f"case{index % 3}" for index in range(count)))


@pytest.fixture
def with_attention(run):
    """A run of the tiny layer whose queries and keys are large enough to prefer something."""
    network = build_network(run.config).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "q_proj" in name or "k_proj" in name:
                parameter.mul_(40)
    return dataclasses.replace(run, network=network)


def test_rows_are_the_measures_of_the_weights_counted_token_by_token(with_attention):
    batches = [batch_of(3), batch_of(2, first=3)]
    table, _ = attention_table(with_attention, batches, null_images=0)
    assert len(table) == 5 * 4
    assert table["null"].eq("").all()
    keys = table[["run", "dataset", "arm", "seed", "place", "layer"]].drop_duplicates()
    assert keys.values.tolist() == [["llm-0", "discs", "llm", 0, 1, 3]]
    seen = []
    with torch.no_grad(), attending(with_attention.network, seen.append):
        with_attention.network(batches[1].images)
    places = [(row, column) for row in range(4) for column in range(4)]
    inside = batches[1].masks[1, 0].reshape(4, 16, 4, 16).mean((1, 3)).flatten() >= 0.5
    for head in range(4):
        weights = seen[1].weights[head].double().tolist()
        row = table[(table["image"] == "image4") & (table["head"] == head + 1)].iloc[0]
        distance = sum(
            weights[q][k] * math.dist(places[q], places[k]) for q in range(16) for k in range(q + 1)
        )
        uniform = sum(
            math.dist(places[q], places[k]) / (q + 1) for q in range(16) for k in range(q + 1)
        )
        share = [sum(weights[q][k] for k in range(16) if inside[k]) for q in range(16)]
        chosen = [share[q] for q in range(16) if inside[q]]
        assert row["distance"] == pytest.approx(distance / 16)
        assert row["distance_ratio"] == pytest.approx(distance / uniform)
        assert row["foreground_share"] == pytest.approx(sum(chosen) / len(chosen))
        assert row["foreground_tokens"] == len(chosen)
        assert row["first_share"] == pytest.approx(sum(weights[q][0] for q in range(16)) / 16)
        assert row["tokens"] == 16


def test_a_layer_that_asks_for_nothing_does_no_more_than_its_mask(run):
    network = build_network(run.config).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "q_proj" in name:
                parameter.zero_()
    table, arrays = attention_table(dataclasses.replace(run, network=network), [batch_of(4)])
    own = table[table["null"] != "other-image"]
    assert np.allclose(own[RATIOS].to_numpy(float), 1, atol=1e-6)
    assert set(table["null"]) == {"", "shuffled", "other-image"}
    tokens = [row * 4 + column for row, column in arrays["query_tokens"].tolist()]
    for image, token in enumerate(tokens):
        expected = [1 / (token + 1)] * (token + 1) + [0] * (15 - token)
        for shown in arrays["maps"][:, image]:
            assert shown.ravel().tolist() == pytest.approx(expected, abs=1e-6)


def test_null_bands(with_attention):
    batches = [batch_of(4), batch_of(2, first=4)]
    before = build_network(with_attention.config).eval()
    table, _ = attention_table(with_attention, batches, untrained=before, null_images=5)
    sizes = table.groupby("null")["image"].nunique().to_dict()
    assert sizes == {"": 6, "other-image": 5, "shuffled": 5, "untrained": 5}
    other = table[table["null"] == "other-image"]
    foreground = [name for name in ATTENTION.values if name.startswith("foreground_share")]
    assert other[foreground].notna().all(axis=None)
    assert other[[name for name in RATIOS if name not in foreground]].isna().all(axis=None)
    keys = ["head", "image"]
    joined = table[table["null"] == ""].merge(other, on=keys, suffixes=("", "_null"))
    assert (joined["foreground_share"] - joined["foreground_share_null"]).abs().max() > 0.01
    # Weights that were not made larger attend almost alike.
    weak = table[table["null"] == "untrained"]["entropy_ratio"]
    strong = table[table["null"] == ""]["entropy_ratio"]
    assert weak.min() > strong.max()


def test_the_network_is_left_as_it_was_and_the_table_can_be_stored(
    with_attention, fingerprint, tmp_path
):
    before = fingerprint(with_attention.network)
    table, arrays = attention_table(with_attention, [batch_of(3)], gallery=2)
    assert fingerprint(with_attention.network) == before
    write_table(table, tmp_path / "attention.csv", ATTENTION)
    assert read_table(tmp_path / "attention.csv", ATTENTION).equals(table)
    np.savez(tmp_path / "attention.npz", allow_pickle=False, **arrays)
    assert arrays["maps"].shape == (5, 2, 4, 4)
    assert arrays["images"].shape == arrays["masks"].shape == (2, 64, 64)


def test_maps_look_from_the_pixel_that_was_asked_about(with_attention):
    _, arrays = attention_table(with_attention, [batch_of(3)], query=(0, 15), gallery=2)
    assert arrays["queries"].tolist() == [[0, 15]] * 2
    first_alone = np.zeros(GRID)
    first_alone[0, 0] = 1  # under the causal mask the first token sees only itself
    assert np.allclose(arrays["maps"], first_alone)
    _, arrays = attention_table(with_attention, [batch_of(3)], query=(63, 63), gallery=2)
    assert arrays["query_tokens"].tolist() == [[3, 3]] * 2
    assert np.allclose(arrays["maps"].sum((-1, -2)), 1)
    assert arrays["map_head"].tolist() == [0, 1, 2, 3, 4]
    assert np.allclose(arrays["maps"][0], arrays["maps"][1:].mean(0))


def test_the_default_query_is_the_centre_of_the_largest_region():
    mask = torch.zeros(20, 20, dtype=torch.bool)
    mask[0:2, 0:2] = True
    mask[9:14, 4:9] = True
    assert centre_of_largest_region(mask) == (11, 6)
    ring = torch.ones(5, 5, dtype=torch.bool)
    ring[1:4, 1:4] = False
    assert ring[centre_of_largest_region(ring)]  # in the region, though its centroid is not
    volume = torch.zeros(6, 6, 6, dtype=torch.bool)
    volume[2:5, 1:4, 0:3] = True
    assert centre_of_largest_region(volume) == (3, 2, 1)
    assert token_of((3, 2, 5), (6, 6, 6), (2, 3, 3)) == (1, 1, 2)


def volumes_run(run, tiny_llm):
    config = Config.model_validate(
        {
            "arm": "llm",
            "data": {"image_size": [32, 32, 32], "channels": 1},
            "backbone": {"name": "segresnet-3d", "widths": [8, 16, 32, 64]},
            "booster": {"source": str(tiny_llm), "layer": 2, "attention": "bidirectional"},
        }
    )
    return dataclasses.replace(run, config=config, network=build_network(config).eval())


def test_volumes(run, tiny_llm):
    table, arrays = attention_table(volumes_run(run, tiny_llm), [batch_of(3, (32, 32, 32))])
    assert set(table["null"]) == {"", "shuffled", "other-image"}
    grid = arrays["maps"].shape[2:]
    assert len(grid) == 3
    assert table["tokens"].eq(math.prod(grid)).all()
    assert arrays["images"].shape == (3, 32, 32)
    assert arrays["queries"].shape == (3, 3)
    # Everything is visible to every token.
    assert table["first_share_uniform"].dropna().tolist() == pytest.approx(
        [1 / math.prod(grid)] * int(table["first_share_uniform"].notna().sum())
    )


def test_what_cannot_be_probed_says_why(with_attention, plain_run):
    with pytest.raises(SiteError, match="there is no attention in arm 'cnn': give a run with"):
        attention_table(plain_run, [batch_of(2)])
    with pytest.raises(
        DataError,
        match=r"query 64,0 is no pixel of the images of run llm-0, which "
        r"sees 64 × 64 pixels: give row,column, counted from 0",
    ):
        attention_table(with_attention, [batch_of(2)], query=(64, 0))
    with pytest.raises(DataError, match="query 1,2,3 is no pixel"):
        attention_table(with_attention, [batch_of(2)], query=(1, 2, 3))
    empty = dataclasses.replace(batch_of(2), masks=torch.zeros(2, 1, 64, 64))
    with pytest.raises(DataError, match="no image that run llm-0 was probed on has any foreground"):
        attention_table(with_attention, [empty])
    colour = dataclasses.replace(batch_of(2), images=torch.zeros(2, 3, 64, 64))
    with pytest.raises(DataError, match="image image0 has 3 channels, but run llm-0 was trained"):
        attention_table(with_attention, [colour])


def drawn_table(arms=ARMS, places=(1,)) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    rows = [
        {
            "run": f"{arm}-{seed}", "dataset": "made", "arm": arm, "seed": seed, "place": place,
            "layer": 10 + place, "head": head, "null": null, "image": f"i{image}", "group": "g",
            **{name: draw.uniform(0.5, 2) for name in PANELS},
        }
        for arm in arms for seed in (0, 1) for place in places for null in NULLS
        for head in range(1, HEADS + 1) for image in range(4)
    ]  # fmt: skip
    table = pd.DataFrame(rows).reindex(columns=list(ATTENTION.columns))
    only_foreground = [name for name in PANELS if name != "foreground_share_ratio"]
    table.loc[table["null"] == "other-image", only_foreground] = np.nan
    return conform(table, ATTENTION)


def drawn_arrays(grid=(2, 3), arms=ARMS) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(1)
    maps = [(arm, head) for arm in arms for head in range(HEADS + 1)]
    values = draw.random((len(maps), 4, *grid)).astype(np.float32)
    return {
        "image_names": np.array([f"case-number-{image}/slice-7" for image in range(4)]),
        "images": draw.integers(0, 255, (4, 24, 36)).astype(np.uint8),
        "masks": np.pad(np.ones((4, 8, 8), np.uint8), ((0, 0), (4, 12), (4, 24))),
        "queries": np.array([[0] * (len(grid) - 2) + [9, 12]] * 4),
        "query_tokens": np.array([[1] * (len(grid) - 2) + [0, 1]] * 4),
        "map_arm": np.array([arm for arm, _ in maps]),
        "map_seed": np.zeros(len(maps), int),
        "map_place": np.ones(len(maps), int),
        "map_layer": np.full(len(maps), 15),
        "map_head": np.array([head for _, head in maps]),
        "maps": values / values.sum((-1, -2), keepdims=True),
    }


def test_a_dot_per_head_and_run_at_the_mean_over_images():
    table = drawn_table()
    drawn = figure(table)
    assert drawn.get_size_inches()[0] == pytest.approx(COLUMN)
    panels = drawn.axes
    assert [axes.get_title(loc="left") for axes in panels] == list(PANELS.values())
    for axes, value in zip(panels, PANELS, strict=True):
        for arm in ARMS:
            (dots,) = [c for c in axes.collections if c.get_label() == arm_style(arm).label]
            own = table[(table["arm"] == arm) & (table["null"] == "")]
            expected = own.groupby(["run", "head"])[value].mean()
            assert sorted(dots.get_offsets()[:, 0]) == pytest.approx(sorted(expected))
    assert [label.get_text() for label in panels[0].get_yticklabels()] == [
        "LLM, frozen", "Transformer",
    ]  # fmt: skip
    assert {axes.get_xlabel() for axes in panels[-2:]} == {"× uniform attention"}
    legend = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert legend[-1] == "another image's mask"
    assert len(legend) == 3


def test_bands_stand_only_where_the_null_was_measured():
    drawn = figure(drawn_table())
    by_title = {axes.get_title(loc="left"): len(axes.patches) for axes in drawn.axes}
    assert by_title.pop("Foreground") == 3 * len(ARMS)
    assert set(by_title.values()) == {2 * len(ARMS)}


def test_layers_of_one_run_are_rows_of_their_own():
    drawn = figure(drawn_table(["llm"], places=(1, 2)))
    assert [label.get_text() for label in drawn.axes[0].get_yticklabels()] == [
        "LLM, frozen,\nlayer 11", "LLM, frozen,\nlayer 12",
    ]  # fmt: skip


def test_every_arm_has_its_row():
    arms = [str(arm) for arm in ARM_STYLES]
    drawn = figure(drawn_table(arms))
    assert len(drawn.axes[0].get_yticks()) == len(arms)


def test_maps_are_drawn_over_the_images_with_the_query():
    given = drawn_arrays()
    drawn = maps_figure(given, 0)
    assert drawn.get_size_inches()[0] == pytest.approx(8.5 * CENTIMETRE)
    assert len(drawn.axes) == 3 * (1 + len(ARMS))
    assert drawn.axes[0].get_title() == "case-n…slice-7"
    first_map = drawn.axes[3]
    picture, overlay = first_map.get_images()
    assert picture.get_array().tolist() == given["images"][0].tolist()
    expected = given["maps"][0, 0] / given["maps"][0, 0].max()
    assert np.allclose(overlay.get_array(), expected)
    assert list(overlay.get_extent()) == [-0.5, 35.5, 23.5, -0.5]
    (cross,) = [line for line in first_map.lines if line.get_marker() == "x"]
    assert (cross.get_xdata()[0], cross.get_ydata()[0]) == (12, 9)
    assert first_map.texts[0].get_text() == f"{given['maps'][0, 0].max():.2f}"


def test_a_column_per_head_when_heads_are_asked_for():
    given = drawn_arrays()
    drawn = maps_figure(given, 0, [2], [1, 2, 3])
    assert [axes.get_title() for axes in drawn.axes[:3]] == ["head 1", "head 2", "head 3"]
    of_transformer = drawn.axes[6 + 1]
    place = list(zip(given["map_arm"], given["map_head"], strict=True)).index(("transformer", 2))
    expected = given["maps"][place, 2] / given["maps"][place, 2].max()
    assert np.allclose(of_transformer.get_images()[1].get_array(), expected)


def test_of_a_volume_the_querys_plane_is_drawn():
    given = drawn_arrays((3, 2, 3))
    drawn = maps_figure(given, 0, [0])
    plane = given["maps"][0, 0, 1]
    assert np.allclose(drawn.axes[1].get_images()[1].get_array(), plane / plane.max())


def test_the_command_probes_all_runs_that_have_attention(
    trained: dict[str, Path], tmp_path: Path
) -> None:
    given = [word for arm in ("cnn-0", "llm-0", "llm-1") for word in ("--ckpt", trained[arm])]
    result = invoke("attention", *given, "--out", tmp_path, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    table = pd.read_csv(found["table"], keep_default_na=False)
    assert set(table["run"]) == {"llm-0", "llm-1"}
    assert set(table["null"]) == {"", "shuffled", "untrained", "other-image"}
    assert len(found["rows"]) == len(table)
    assert "cnn-0 left out: there is no attention in arm 'cnn'" in result.stderr
    figures = [Path(path) for path in found["figures"]]
    assert {path.stem for path in figures} == {"attention", "attention-maps", "attention-heads"}
    assert {path.suffix for path in figures} == {".svg", ".pdf", ".png"}
    assert all(path.stat().st_size > 1000 for path in figures)
    with np.load(tmp_path / "attention.npz", allow_pickle=False) as stored:
        assert stored["maps"].shape == (2 * 5, 4, 4, 4)
        assert set(stored["map_run"]) == {"llm-0", "llm-1"}


def test_the_command_from_a_pixel_is_what_one_call_in_python_gives(
    trained: dict[str, Path], tmp_path: Path
) -> None:
    checkpoint = trained["llm-0"]
    command = invoke("attention", "--ckpt", checkpoint, "--query", "40,8", "--out", tmp_path)
    assert command.exit_code == 0, command.output
    assert f"The table: {tmp_path / 'attention.csv'}" in command.stdout
    known = load(checkpoint)
    table, arrays = attention_table(
        known, known.batches(), query=(40, 8), untrained=untrained(known.config)
    )
    with np.load(tmp_path / "attention.npz", allow_pickle=False) as stored:
        assert stored["query_tokens"].tolist() == [[2, 0]] * 4
        assert np.allclose(stored["maps"], arrays["maps"], atol=1e-6)
    written = read_table(tmp_path / "attention.csv", ATTENTION)
    assert written["entropy"].tolist() == pytest.approx(table["entropy"].tolist(), nan_ok=True)


def test_the_command_refuses_in_one_line(trained: dict[str, Path], tmp_path: Path) -> None:
    out = ("--out", tmp_path)
    assert "no run is left to probe: there is no attention in arm 'cnn': give a run with" in (
        refused("attention", "--ckpt", trained["cnn-0"], *out)
    )
    layer = ("--ckpt", trained["llm-0"])
    assert "--query holds 'middle': give whole numbers from 0, such as 48,48" in refused(
        "attention", *layer, "--query", "middle", *out
    )
    assert "query 99,0 is no pixel of the images of run llm-0, which sees 64 × 64 pixels" in (
        refused("attention", *layer, "--query", "99,0", *out)
    )
    assert list(tmp_path.iterdir()) == []
