"""The probe `swap`: its table, its effects, its figure and its command."""

from __future__ import annotations

import copy
import dataclasses
import shutil
from pathlib import Path

import pandas as pd
import pytest
import studies
import torch
from commands import invoke, refused
from legible import legible
from matplotlib.collections import PathCollection
from matplotlib.text import Text

from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.errors import DataError, SiteError, TableError
from llm4seg_probe.measures.linear_map import LinearMap
from llm4seg_probe.models.network import build_network
from llm4seg_probe.probes.swap import SWAP, SWAP_EFFECTS
from llm4seg_probe.probes.swap import figure as swap_figure
from llm4seg_probe.probes.swap.table import (
    MEAN,
    OTHER_ARM,
    OTHER_SEED,
    Exchange,
    Fitted,
    fit,
    swap_effects,
    swap_table,
)
from llm4seg_probe.tables import conform
from llm4seg_probe.training import checkpoint

CHANGES = {
    ("bypass", ""): -0.2,
    ("head-off", "1"): 0.0,
    ("low-rank", "1"): -0.1,
    ("low-rank", "8"): -0.01,
}


@pytest.fixture(scope="module")
def collection(tiny_config):
    return open_collection(tiny_config.data.name, classes=tiny_config.data.classes)


def under_identity(exchange, batches):
    """Maps that change nothing, with the mean that was fitted."""
    fitted = fit(exchange, batches)
    maps = {key: LinearMap.identity(len(each.offset)) for key, each in fitted.maps.items()}
    return Fitted(maps, fitted.means)


@pytest.mark.parametrize("heads", [False, True])
def test_swapping_a_run_with_itself_changes_no_bit(run, some_batches, collection, heads):
    exchange = Exchange.between(run, {OTHER_ARM: run}, heads=heads)
    table = swap_table(exchange, under_identity(exchange, some_batches), some_batches, collection)
    own = table[table["donor"] == OTHER_ARM]
    assert own["site"].nunique() == (5 if heads else 1)
    assert own["iou_change"].eq(0).all()
    assert own["dice_change"].eq(0).all()
    assert own["explained"].eq(1).all()
    conform(table, SWAP)


def test_a_change_of_basis_is_seen_through(run, some_batches, collection):
    turned = copy.deepcopy(run.network)
    adapter = turned.get_submodule("encoder5").booster.adapter2
    turn = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(0)))[0]
    with torch.no_grad():
        adapter.weight.copy_(3 * turn @ adapter.weight)
        adapter.bias.copy_(3 * turn @ adapter.bias + 1)
    donor = dataclasses.replace(run, name="turned", network=turned)
    exchange = Exchange.between(run, {OTHER_SEED: donor})
    fitted = fit(exchange, some_batches)
    table = swap_table(exchange, fitted, some_batches, collection)
    own = table[table["donor"] == OTHER_SEED]
    assert own["donor_run"].unique().tolist() == ["turned"]
    assert own["explained"].min() > 0.9
    raw = Fitted({(OTHER_SEED, "after"): LinearMap.identity(8)}, fitted.means)
    unmapped = swap_table(exchange, raw, some_batches, collection)
    assert unmapped.loc[unmapped["donor"] == OTHER_SEED, "explained"].max() < 0


def test_the_mean_is_that_of_the_training_images_and_explains_nothing(
    run, some_batches, collection
):
    exchange = Exchange.between(run, {})
    fitted = fit(exchange, some_batches)
    seen = []
    with (
        torch.no_grad(),
        run.network.get_submodule("encoder5").register_forward_hook(
            lambda _m, _i, out: seen.append(out.flatten(2).transpose(1, 2).double())
        ),
    ):
        for batch in some_batches:
            run.network(batch.images)
    torch.testing.assert_close(fitted.means["after"], torch.cat(seen).mean(0))
    table = swap_table(exchange, fitted, some_batches, collection)
    assert table["donor"].unique().tolist() == ["", MEAN]
    assert table.loc[table["donor"] == MEAN, "explained"].abs().max() < 1e-9
    assert table.loc[table["donor"] == "", "explained"].isna().all()


def test_arms_without_a_layer_swap_features_but_no_heads(
    run, plain_run, some_batches, collection, fingerprint
):
    before = fingerprint(run.network), fingerprint(plain_run.network)
    exchange = Exchange.between(plain_run, {OTHER_ARM: run})
    table = swap_table(exchange, fit(exchange, some_batches), some_batches, collection)
    assert table["arm"].unique().tolist() == ["cnn"]
    assert table["donor_run"].unique().tolist() == ["", "llm-0"]
    assert (fingerprint(run.network), fingerprint(plain_run.network)) == before
    with pytest.raises(SiteError, match="no decoder layer"):
        Exchange.between(plain_run, {OTHER_ARM: run}, heads=True)
    several = run.config.booster.model_copy(update={"layer": (1, 2)})
    config = run.config.model_copy(update={"booster": several})
    deeper = dataclasses.replace(run, network=build_network(config).eval())
    with pytest.raises(SiteError, match="equal architecture: these have 4 and 8 heads"):
        Exchange.between(run, {OTHER_ARM: deeper}, heads=True)


def test_grids_of_different_sizes_and_images_without_foreground_are_refused(
    run, some_batches, collection
):
    class Coarse(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = run.network

        def forward(self, images):
            return self.network(images.repeat(1, 1, 2, 2))

    coarse = Coarse()
    donor = dataclasses.replace(run, name="coarse", network=coarse)
    exchange = Exchange.between(run, {OTHER_ARM: donor})
    with pytest.raises(SiteError, match="coarse has 16 tokens at 'after', llm-0 has 4"):
        fit(exchange, some_batches)
    with pytest.raises(DataError, match="there are no images"):
        fit(Exchange.between(run, {}), [])


def swapped(levels):
    change = {("after", "other-arm"): -0.05, ("after", "mean"): -0.3}
    changes = dict.fromkeys(levels, change)
    table = studies.changed_scores(levels, changes, ("site", "donor"), ("", ""))
    return conform(swap_effects(table.assign(explained=0.5)), SWAP_EFFECTS)


def test_a_share_of_the_gap_is_given_only_where_there_is_a_gap():
    apart = swapped({"cnn": 0.5, "llm": 0.7}).set_index(["arm", "donor", "score"])
    own = apart.loc[("llm", "other-arm", "iou")]
    assert own["gap"] == pytest.approx(-0.2, abs=0.005)
    assert own["gap_low"] < own["gap"] < own["gap_high"] < 0
    assert own["gap_share"] == pytest.approx(own["change"] / own["gap"])
    assert apart.loc[("cnn", "other-arm", "iou"), "gap"] == pytest.approx(-own["gap"])
    assert own["explained"] == 0.5
    level = swapped({"cnn": 0.6, "llm": 0.6})
    assert (level["gap_low"] < 0).all()
    assert (level["gap_high"] > 0).all()
    assert level["gap_share"].isna().all()


def drawn(figure):
    texts = {text.get_text() for text in figure.findobj(Text)}
    dots = [
        [
            tuple(each.get_offsets()[0])
            for each in axes.collections
            if isinstance(each, PathCollection)
        ]
        for axes in figure.axes
    ]
    return texts, dots


def test_the_swap_figure_has_a_panel_per_receiver_and_the_gap_in_it():
    figure = swap_figure.figure(swapped({"cnn": 0.5, "llm": 0.7}))
    texts, dots = drawn(figure)
    assert {"Put into: CNN", "Put into: LLM, frozen", "the mean activation"} <= texts
    assert [x for x, _ in dots[1]] == pytest.approx([-0.0575, -0.345])
    gaps = [line.get_xdata()[0] for axes in figure.axes for line in axes.lines]
    assert pytest.approx(0.2, abs=0.005) in gaps
    assert pytest.approx(-0.2, abs=0.005) in gaps
    legible(figure)
    with pytest.raises(TableError, match="no row on nsd"):
        swap_figure.figure(swapped({"cnn": 0.5, "llm": 0.7}), "nsd")


@pytest.mark.slow
@pytest.mark.parametrize("command", [("swap",), ("intervene", "--swap")])
def test_the_command_swaps_both_ways(
    trained: dict[str, Path], tmp_path: Path, command: tuple[str, ...]
) -> None:
    given = (*command, "--ckpt", trained["cnn-0"], "--ckpt", trained["transformer-0"])
    result = invoke(*given, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "swap.csv", keep_default_na=False)
    assert set(table["donor"]) == {"", "other-arm", "mean"}
    received = table[table["donor"] == "other-arm"]
    assert set(zip(received["run"], received["donor_run"], strict=True)) == {
        ("cnn-0", "transformer-0"),
        ("transformer-0", "cnn-0"),
    }
    assert "left out another seed of its arm" in result.stderr


def test_what_cannot_be_swapped_says_what_is_missing(
    trained: dict[str, Path], tmp_path: Path
) -> None:
    given = ("swap", "--out", tmp_path)
    names = ("cnn-0", "transformer-0", "transformer-1")
    cnn, one, two = (("--ckpt", trained[name]) for name in names)
    assert "between two arms, but the checkpoints are of 1 (transformer)" in refused(
        *given, *one, *two
    )
    assert "these seeds are in one alone: transformer [1]" in refused(*given, *cnn, *one, *two)
    assert "no decoder layer" in refused(*given, *cnn, *one, "--heads")
    assert "no decoder layer" in refused("intervene", *cnn, *one, "--swap-heads", "--out", tmp_path)
    content = checkpoint.read_run(trained["cnn-0"])
    content["split"] = content["split"] | {"train": []}
    checkpoint.save(content, tmp_path / "converted.pt")
    assert "does not say which images it was trained on" in refused(
        *given, "--ckpt", tmp_path / "converted.pt", *one
    )
    copy = tmp_path / "copy.pt"
    shutil.copy(trained["cnn-0"], copy)
    assert "are both arm cnn, seed 0" in refused(*given, *cnn, "--ckpt", copy, *one)
