"""The probe `denoise`: known answers, its tables, its figures and its command."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from commands import invoke, refused
from legible import legible
from torch import Tensor, nn

import llm4seg_probe as lp
from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.errors import DataError, SiteError, UserError
from llm4seg_probe.probes.denoise import DENOISE, DIRECTIONS, TOKENS, Options
from llm4seg_probe.probes.denoise import figure as denoise_figure
from llm4seg_probe.probes.denoise.gain import chance_gains, gains, sentences
from llm4seg_probe.probes.denoise.noises import NOISES, with_noise
from llm4seg_probe.probes.denoise.table import denoise_tables
from llm4seg_probe.tables import conform, read_table, write_table

ARMS = ("cnn", "llm")
SDS = NOISES["gaussian"].parameters


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Middle(nn.Module):
    """Grey pixels spread over channels, a map of the features, and an answer."""

    def __init__(self, spread: nn.Module, middle: nn.Module, channels: int) -> None:
        super().__init__()
        self.spread = spread
        self.middle = middle
        self.head = nn.Conv2d(channels, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        found = self.head(self.middle(self.spread(images)))
        return nn.functional.interpolate(found, images.shape[2:])


def turn(channels: int) -> nn.Conv2d:
    layer = nn.Conv2d(channels, channels, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.linalg.qr(draw(channels, channels, seed=3)).Q[..., None, None])
    return layer


def blocks(count: int = 8, channels: int = 1, size: int = 4) -> Tensor:
    """Images of 16 x 16 pixels that are constant in blocks of 4 x 4."""
    small = draw(count, channels, 16 // size, 16 // size, seed=1)
    return small.repeat_interleave(size, 2).repeat_interleave(size, 3)


def looked_at(network: nn.Module, images: Tensor, **options: object) -> lp.results.probes.Probed:
    return lp.denoise(network, images, sites=["spread", "middle"], **options)


def middle_of(found: lp.results.probes.Probed, strength: int = 3) -> pd.DataFrame:
    """Ratios of all channels and images together, by site."""
    rows = found.tables[DIRECTIONS.name]
    rows = rows[(rows["direction"] == 0) & (rows["null"] == "") & (rows["strength"] == strength)]
    return rows.set_index("site")


def test_pixels_have_the_noise_that_was_added_and_the_variance_between_images() -> None:
    images = blocks()
    found = looked_at(Middle(nn.Identity(), nn.Identity(), 1), images, draws=40)
    span = images.amax((1, 2, 3)) - images.amin((1, 2, 3))
    between = images.double().var(0).mean().item()
    for strength, share in enumerate(SDS, start=1):
        row = middle_of(found, strength).loc["spread"]
        expected = (share * span.double()).square().mean().item()
        assert row["noise_variance"] == pytest.approx(expected, rel=0.03)
        # What is left is signal times noise, of mean 0 over so many draws and pixels.
        chance = 2 * math.sqrt(between * expected / (40 * images.numel()))
        assert row["signal_variance"] == pytest.approx(between, abs=4 * chance)
        assert row["snr_db"] == pytest.approx(10 * math.log10(between / expected), abs=0.2)
    table = found.table
    own = table[(table["null"] == "") & (table["site"] == "spread") & (table["strength"] == 2)]
    own = own.sort_values("image")
    assert own["noise_variance"].to_numpy() == pytest.approx((SDS[1] * span).square(), rel=0.1)
    assert own["parameter"].unique().tolist() == [SDS[1]]
    assert own["shift"].abs().max() < 0.01  # noise of mean 0 moves nothing


def test_an_average_of_k_pixels_gains_k_and_an_orthogonal_map_nothing() -> None:
    averaged = looked_at(Middle(nn.Identity(), nn.AvgPool2d(4), 1), blocks(), draws=30)
    levels = middle_of(averaged)["snr_db"]
    assert levels["middle"] - levels["spread"] == pytest.approx(10 * math.log10(16), abs=0.3)
    turned = looked_at(Middle(nn.Identity(), turn(4), 4), blocks(channels=4))
    both = turned.table.pivot_table("snr", ["strength", "image", "null"], "site").dropna()
    own = both[both.index.get_level_values("null") == ""]
    assert own["middle"].to_numpy() == pytest.approx(own["spread"].to_numpy(), rel=1e-3)


def test_a_projection_on_the_signals_direction_gains_the_noise_that_it_leaves_out() -> None:
    direction = nn.functional.normalize(draw(1, 6, 1, 1, seed=4), dim=1)
    images = blocks(10) * direction
    layer = nn.Conv2d(6, 1, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(direction)
    found = looked_at(Middle(nn.Identity(), layer, 1), images, draws=30)
    levels = middle_of(found)["snr_db"]
    # White noise has a sixth of its variance in each direction: five sixths are left out.
    assert levels["middle"] - levels["spread"] == pytest.approx(10 * math.log10(6), abs=0.3)
    rows = found.tables[DIRECTIONS.name]
    rows = rows[(rows["site"] == "spread") & (rows["strength"] == 3)].set_index("direction")
    assert rows.loc[1, "signal_share"] == pytest.approx(1, abs=0.02)
    assert rows.loc[1:, "noise_share"].to_numpy() == pytest.approx(1 / 6, rel=0.1)
    assert rows.loc[1, "snr_db"] == pytest.approx(levels["middle"], abs=0.05)


def test_exchanged_tokens_have_no_signal() -> None:
    found = looked_at(Middle(nn.Identity(), nn.AvgPool2d(2), 1), blocks(12), draws=8)
    table = found.table[found.table["strength"] == 1]
    means = table.groupby(["null", "site"])["snr"].mean()
    assert means["", "spread"] > 100
    assert means["shuffled"].abs().max() < 0.05
    assert table.loc[table["null"] == "shuffled", "shift"].isna().all()
    # One channel: a map at random is a factor.
    for site in ("spread", "middle"):
        assert means["random-map", site] == pytest.approx(means["", site], rel=1e-4)
    assert set(found.tables[DIRECTIONS.name]["null"]) == {""}


@pytest.fixture(scope="module")
def collection(tiny_config):
    return open_collection(tiny_config.data.name, classes=tiny_config.data.classes)


OPTIONS = Options(images=6, draws=3, directions=4)


@pytest.fixture(scope="module")
def tables(run, some_batches, collection):
    return denoise_tables(run, collection, some_batches, OPTIONS, untrained=run.network)


def test_rows_by_site_strength_part_image_and_null(tables, tmp_path) -> None:
    table = tables[DENOISE.name]
    assert len(table) == 2 * 5 * 3 * 6 * 4
    assert table["null"].unique().tolist() == ["", "shuffled", "random-map", "untrained"]
    assert set(table.loc[table["part"] == "all", "tokens"]) == {4}
    parts = table[table["null"] == ""].pivot_table(
        "tokens", ["site", "strength", "image"], "part", aggfunc="sum"
    )
    assert (parts["foreground"] + parts["background"] == parts["all"]).all()
    assert table.loc[table["tokens"] == 0, "snr"].isna().all()
    assert len(tables[DIRECTIONS.name]) == 2 * 5 * 5 * 2
    assert len(tables[TOKENS.name]) == 2 * 5 * 4
    for schema in (DENOISE, DIRECTIONS, TOKENS):
        write_table(tables[schema.name], tmp_path / schema.name, schema)
        assert read_table(tmp_path / schema.name, schema).equals(tables[schema.name])
    # The same network, so that only the draws could differ: they do not.
    own, null = (table[table["null"] == name]["snr"].to_numpy() for name in ("", "untrained"))
    np.testing.assert_array_equal(own, null)


def test_the_three_tables_agree(tables) -> None:
    table, directions, tokens = (tables[one.name] for one in (DENOISE, DIRECTIONS, TOKENS))
    keys = ["site", "strength"]
    own = table[(table["null"] == "") & (table["part"] == "all")]
    whole = directions[(directions["null"] == "") & (directions["direction"] == 0)].set_index(keys)
    for name in ("signal_variance", "noise_variance"):
        expected = whole[name].sort_index().to_numpy()
        for other in (own, tokens):
            found = other.groupby(keys)[name].mean().sort_index()
            assert found.to_numpy() == pytest.approx(expected)


def test_features_with_noise_are_those_of_the_network_on_noisy_images(
    run, tables, some_batches, collection
) -> None:
    """The same by hand, in NumPy: noise in the image's units, normalised, hooked, by formula."""
    from llm4seg_probe.activations.passes import Pool
    from llm4seg_probe.data.preprocess import Preprocess
    from llm4seg_probe.randomness import address

    pool = Pool(6)
    for batch in some_batches:
        pool.add(batch)
    names = [name for batch in pool.batches() for name in batch.names]
    preprocess = Preprocess(run.config.data)
    with torch.no_grad(), lp.record(run.network, ["after"]) as recording:
        for name, number in itertools.product(names, range(3)):
            raw = collection.read(collection.sample(name))
            seed = address("denoise", name, "gaussian", 4, number)
            state = np.random.RandomState(seed % 2**32)
            state.rand()  # MONAI first draws whether there is noise at all
            noisy = raw.image + state.normal(0, 0.2 * 255, raw.image.shape).astype(np.float32)
            pixels = (noisy - noisy.mean()) / noisy.std()
            assert preprocess(raw).shape == pixels.shape
            run.network(torch.from_numpy(pixels)[None])
        values = recording["after"].double().numpy().reshape(6, 3, 4, -1)
    means = values.mean(1)
    noise = values.var(1, ddof=1).sum(-1)
    table = tables[DENOISE.name]
    rows = table[(table["null"] == "") & (table["part"] == "all") & (table["strength"] == 4)]
    rows = rows[rows["site"] == "after"]
    assert rows["image"].tolist() == names
    # One image at a time against batches: other float32 kernels, and a variance a billion times
    # smaller than the features themselves.
    assert rows["noise_variance"].to_numpy() == pytest.approx(noise.mean(1), rel=1e-2)
    between = means.var(0, ddof=1).sum(-1).mean() - noise.mean() / 3
    assert rows["signal_variance"].mean() == pytest.approx(between, rel=1e-2)


def test_the_network_is_left_as_it_was_and_draws_do_not_depend_on_the_run(
    run, some_batches, collection, fingerprint, tables
) -> None:
    before = fingerprint(run.network)
    again = denoise_tables(run, collection, some_batches[::-1], OPTIONS)
    assert fingerprint(run.network) == before
    own = tables[DENOISE.name]
    own = own[own["null"] != "untrained"].reset_index(drop=True)
    pd.testing.assert_frame_equal(again[DENOISE.name], own, rtol=1e-3, check_dtype=False)


def test_of_a_large_grid_some_tokens_are_looked_at(run, some_batches, collection) -> None:
    options = Options(sites=("encoder.1",), images=2, draws=2, tokens=10, parts=("all",))
    found = denoise_tables(run, collection, some_batches, options)
    assert set(found[DENOISE.name]["tokens"]) == {10}
    tokens = found[TOKENS.name]["token"]
    assert tokens.nunique() == 10
    assert tokens.max() > 100


def test_rician_noise_is_that_of_a_magnitude() -> None:
    image = torch.full((1, 200, 200), 10.0)
    image[:, 100:] = 110.0
    found = with_noise(image, "rician", 3, value_range=(10.0, 110.0), seed=0)
    dark, bright = found[:, :100] - 10, found[:, 100:] - 10
    assert dark.min() >= 0
    assert dark.mean().item() == pytest.approx(10 * math.sqrt(math.pi / 2), rel=0.02)  # Rayleigh
    assert bright.std().item() == pytest.approx(10, rel=0.05)
    assert torch.equal(found, with_noise(image, "rician", 3, value_range=(10.0, 110.0), seed=0))
    assert not torch.equal(found, with_noise(image, "rician", 3, value_range=(10.0, 110.0), seed=1))


def test_bad_input_is_named(run, some_batches, collection) -> None:
    def table(**options: object) -> None:
        denoise_tables(run, collection, some_batches, Options(**options))  # type: ignore[arg-type]

    with pytest.raises(UserError, match=r"unknown noise 'gausian'\. Did you mean 'gaussian'\?"):
        table(noises=("gausian",))
    with pytest.raises(UserError, match="no noise is named: give some of gaussian, rician"):
        table(noises=())
    with pytest.raises(UserError, match="unknown part 'front'"):
        table(parts=("front",))
    with pytest.raises(SiteError, match="unknown site 'befor'"):
        table(sites=("befor",))
    with pytest.raises(DataError, match="1 image is too few for a variance between images of run"):
        lp.denoise(Middle(nn.Identity(), nn.Identity(), 1), blocks(1), sites=["middle"])
    with pytest.raises(DataError, match=r"has any foreground: give images with masks, or measure"):
        lp.denoise(
            Middle(nn.Identity(), nn.Identity(), 1), blocks(2), sites=["middle"],
            parts=("all", "background"),
        )  # fmt: skip


def drawn_tables(arms=ARMS, kinds=("gaussian",)) -> dict[str, pd.DataFrame]:
    """Levels that fall with strength; the llm gains 2 dB, the cnn nothing."""
    rows, directions = [], []
    for arm, seed, kind, strength in itertools.product(arms, (0, 1), kinds, range(1, 6)):
        keys = {"run": f"{arm}-{seed}", "dataset": "d", "arm": arm, "seed": seed, "noise": kind,
                "strength": strength}  # fmt: skip
        for site, null in itertools.product(("before", "after"), ("", "untrained", "random-map")):
            gain = (2.0 if arm == "llm" and not null else 0.0) * (site == "after") + 0.5 * seed * (
                site == "after"
            )
            level = 20 - 5 * strength + gain - {"": 0, "untrained": 10, "random-map": 1}[null]
            for part, image in itertools.product(("all", "background"), ("i", "j")):
                rows.append({**keys, "site": site, "null": null, "part": part, "image": image,
                             "group": image, "tokens": 4, "snr_db": level})  # fmt: skip
            for number in range(4):
                directions.append({**keys, "site": site, "null": null, "direction": number,
                                   "snr_db": level - number})  # fmt: skip
    frames = ((DENOISE, rows), (DIRECTIONS, directions), (TOKENS, []))
    return {
        schema.name: conform(
            pd.DataFrame(found).reindex(columns=list(schema.columns)), schema
        )
        for schema, found in frames
    }  # fmt: skip


def test_the_gain_is_after_less_before_and_said_by_arm() -> None:
    tables = drawn_tables()
    found = gains(tables[DENOISE.name])
    assert found.groupby(["arm", "null"])["gain"].mean().to_dict() == pytest.approx(
        {
            (arm, null): 2.25 if (arm, null) == ("llm", "") else 0.25
            for arm in ARMS
            for null in ("", "untrained", "random-map")
        }
    )
    said = sentences(tables)
    assert said == [
        "CNN: signal-to-noise changes by +0.2 dB (0.0 dB to +0.5 dB) from before to after, at "
        "gaussian noise of strength 3; before training +0.2 dB.",
        "LLM, frozen: signal-to-noise changes by +2.2 dB (+2.0 dB to +2.5 dB) from before to "
        "after, at gaussian noise of strength 3; before training +0.2 dB.",
    ]
    chance = chance_gains(tables[DENOISE.name])
    assert chance["gain"].unique().tolist() == [-1.0]
    assert len(chance) == 2 * 2 * 5 * 2 * 2
    tables[DENOISE.name].loc[0, "snr_db"] = math.nan
    assert sentences(tables)[-1].startswith("1 of 160 measurements have no signal above the noise")


def test_lines_are_means_of_the_runs_and_the_gain_stands_beside_its_row() -> None:
    tables = drawn_tables()
    before, after = denoise_figure.figure(tables[DENOISE.name]).axes[:2]
    lines = {line.get_gid(): list(line.get_ydata()) for line in after.lines}
    assert lines["llm"] == pytest.approx([22.25 - 5 * strength for strength in range(1, 6)])
    assert lines["cnn-untrained"] == pytest.approx([10.25 - 5 * s for s in range(1, 6)])
    assert before.get_title(loc="left") == "Before the layer"
    gained = denoise_figure.gain_figure(tables[DENOISE.name]).axes[0]
    assert [text.get_text() for text in gained.texts] == ["+0.2", "+2.2", "all"]
    along = denoise_figure.directions_figure(tables[DIRECTIONS.name]).axes[0]
    of_llm = {line.get_gid(): list(line.get_ydata()) for line in along.lines}["llm-after"]
    assert of_llm == pytest.approx([6.25, 5.25, 4.25])


@pytest.mark.parametrize("kinds", [("gaussian",), ("gaussian", "rician")])
def test_its_figures_are_legible_at_a_columns_width(kinds) -> None:
    for drawn, _ in denoise_figure.figures(drawn_tables(kinds=kinds), None).values():
        legible(drawn)


def test_the_command_writes_tables_figures_and_the_gain(
    trained: dict[str, Path], tmp_path: Path
) -> None:
    result = invoke(
        "denoise", "--ckpt", trained["llm-0"], "--ckpt", trained["cnn-0"], "--images", 4,
        "--draws", 2, "--out", tmp_path, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert Path(found["directions"]).name == DIRECTIONS.name
    assert Path(found["tokens"]).name == TOKENS.name
    figures = {Path(path).stem for path in found["figures"]}
    assert figures == {"denoise", "denoise-gain", "denoise-directions"}
    assert found["sentences"][0].startswith("CNN: signal-to-noise changes by 0.0 dB from before")
    # In a plain CNN before and after are one place.
    table = read_table(Path(found["table"]), DENOISE)
    plain = gains(table[table["arm"] == "cnn"])
    assert plain["gain"].dropna().abs().max() == 0


def test_the_command_refuses_in_one_line(trained: dict[str, Path], tmp_path: Path) -> None:
    given = ("--ckpt", trained["cnn-0"], "--out", tmp_path)
    assert "unknown noise 'speckle'" in refused("denoise", *given, "--noises", "speckle")
    assert list(tmp_path.iterdir()) == []
