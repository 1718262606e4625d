from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from llm4seg_probe.config import Config
from llm4seg_probe.data.batches import Batch
from llm4seg_probe.errors import DataError, SiteError
from llm4seg_probe.models.network import build_network
from llm4seg_probe.probing.attending import attending
from llm4seg_probe.probing.attention import attention_table
from llm4seg_probe.probing.queries import centre_of_largest_region, token_of
from llm4seg_probe.tables import ATTENTION, read_table, write_table

RATIOS = [name for name in ATTENTION.values if name.endswith("_ratio")]
GRID = (4, 4)


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
    with pytest.raises(SiteError, match="run cnn-0 has no attention: in arm 'cnn' no decoder"):
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
