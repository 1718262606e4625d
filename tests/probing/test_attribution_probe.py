from __future__ import annotations

import copy
import dataclasses
import io

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from llm4seg_probe.config import Config
from llm4seg_probe.data.batches import Batch
from llm4seg_probe.errors import DataError, SiteError, UserError
from llm4seg_probe.probing.attribution import attribution_table
from llm4seg_probe.probing.explanations import (
    METHODS,
    Options,
    Score,
    explain,
    infidelity,
    sensitivity,
)
from llm4seg_probe.probing.gate import gated
from llm4seg_probe.probing.passes import evaluating
from llm4seg_probe.randomness import generator, seeded
from llm4seg_probe.tables import ATTRIBUTE, read_table, write_table

FAST = Options(target="mask", steps=6, window=16, boxes=4, changes=2)


class Skipped(nn.Module):
    """Two ways to the logits: through ``inner`` and its activation, and straight on."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Conv2d(2, 3, 3, padding=1)
        self.activation = activation
        self.outer = nn.Conv2d(3, 1, 3, padding=1)
        self.straight = nn.Conv2d(2, 1, 1)

    def forward(self, images):
        return self.outer(self.activation(self.inner(images))) + self.straight(images)


def skipped(activation: nn.Module) -> nn.Module:
    with seeded("test", "skipped"):
        return Skipped(activation).eval()


def images(count: int = 1, side: int = 8) -> torch.Tensor:
    return torch.randn(count, 2, side, side, generator=generator("test", "attributed"))


def region(side: int = 8) -> torch.Tensor:
    found = torch.zeros(side, side)
    found[2:6, 3:7] = 1
    return found


def attributed(
    network: nn.Module, site: str, method: str, options: Options, shown: torch.Tensor
) -> torch.Tensor:
    with evaluating(network), gated(network, site) as gate:
        score = Score(network, region(), 0)
        return explain(method, score, gate, shown, options, options.baseline_of(shown))


def gap(network: nn.Module, site: str, method: str, options: Options) -> float:
    shown = images()
    with torch.no_grad():
        score = Score(network, region(), 0)
        difference = score(shown) - score(options.baseline_of(shown))
    return float((attributed(network, site, method, options, shown).sum() - difference).abs())


# Known answers.


def linear_weights(network: nn.Conv2d) -> torch.Tensor:
    """What one pixel of each channel adds to the score, by a transposed convolution."""
    marked = region()[None, None] / region().sum()
    return functional.conv_transpose2d(marked, network.weight, padding=1).detach()


@pytest.mark.parametrize("method", ["integrated-gradients", "conductance", "occlusion"])
@pytest.mark.parametrize("baseline", ["zero", "mean"])
def test_a_linear_network_gives_its_exact_weights(method: str, baseline: str) -> None:
    with seeded("test", "linear"):
        network = nn.Conv2d(2, 1, 3, padding=1).eval()
    shown = images(2)
    options = Options(baseline=baseline, window=1, steps=5)
    expected = (linear_weights(network) * (shown - options.baseline_of(shown))).sum(1)
    found = attributed(network, "input", method, options, shown)
    assert found.numpy() == pytest.approx(expected.numpy(), abs=1e-6)


def test_occlusion_of_a_linear_network_shares_each_windows_sum() -> None:
    with seeded("test", "linear"):
        network = nn.Conv2d(2, 1, 3, padding=1).eval()
    shown = images()
    single = (linear_weights(network) * shown).sum(1)
    expected = functional.avg_pool2d(single, 4).repeat_interleave(4, 1).repeat_interleave(4, 2)
    found = attributed(network, "input", "occlusion", Options(window=4), shown)
    assert found.numpy() == pytest.approx(expected.numpy(), abs=1e-6)


def test_gradients_integrated_over_the_image_add_up_the_better_the_more_steps() -> None:
    network = skipped(nn.GELU())
    gaps = [
        gap(network, "input", "integrated-gradients", Options(steps=steps)) for steps in (1, 3, 12)
    ]
    assert gaps[0] > 3 * gaps[1] > 9 * gaps[2]
    assert gaps[2] < 1e-5
    coarse, fine = (
        gap(network, "input", "conductance", Options(steps=steps)) for steps in (8, 128)
    )
    assert fine < coarse / 8


def test_at_an_inner_site_the_sum_is_the_share_that_passes_through_it() -> None:
    network = skipped(nn.GELU())
    shown = images()
    with torch.no_grad():
        passed = network.outer(network.activation(network.inner(shown)))
        nothing = network.outer(network.activation(network.inner(torch.zeros_like(shown))))
        share = ((passed - nothing)[:, 0] * region()).sum() / region().sum()
    for site in ("inner", "activation", "outer"):
        found = attributed(network, site, "integrated-gradients", Options(steps=24), shown)
        assert found.sum().item() == pytest.approx(share.item(), abs=1e-5)
    assert gap(network, "outer", "integrated-gradients", Options()) > 0.01
    for method in ("integrated-gradients", "conductance"):
        assert gap(network, "logits", method, Options()) < 1e-5


def test_gradcam_is_mean_gradient_times_activation() -> None:
    network = skipped(nn.GELU())
    shown = images(2)
    features = network.inner(shown).detach().requires_grad_()
    logits = network.outer(network.activation(features))
    (logits[:, 0] * region()).flatten(1).sum(1).div(region().sum()).sum().backward()
    expected = (features.grad.mean((2, 3), keepdim=True) * features).sum(1).detach()
    found = attributed(network, "inner", "gradcam", Options(), shown)
    assert found.numpy() == pytest.approx(expected.numpy(), abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_change_in_place_after_the_site_changes_nothing(method: str) -> None:
    plain, in_place = skipped(nn.ReLU()), skipped(nn.ReLU(inplace=True))
    options = Options(window=2, steps=6)
    for site in ("inner", "activation", "input"):
        expected, found = (
            attributed(network, site, method, options, images()) for network in (plain, in_place)
        )
        assert torch.equal(found, expected), site


def test_sites_inside_the_booster_are_grids(run, some_batches) -> None:
    shown = some_batches[0].images[:1]
    found = {}
    for site in ("before", "tokens", "layer", "after"):
        with evaluating(run.network), gated(run.network, site) as gate:
            score = Score(run.network, some_batches[0].masks[0, 0], 0)
            options = Options(steps=12)
            found[site] = explain(
                "integrated-gradients", score, gate, shown, options, torch.zeros_like(shown)
            )
    assert {tuple(one.shape) for one in found.values()} == {(1, 2, 2)}
    # An adapter is linear: what passes it is the same before and after, position by position.
    for left, right in (("before", "tokens"), ("layer", "after")):
        assert found[left].numpy() == pytest.approx(found[right].numpy(), abs=1e-5)


def test_exact_attributions_foretell_every_box_and_wrong_ones_do_not() -> None:
    with seeded("test", "linear"):
        network = nn.Conv2d(2, 1, 3, padding=1).eval()
    shown = images()
    nothing = torch.zeros_like(shown)
    score = Score(network, region(), 0)
    with torch.no_grad():
        # Channels share a map's value, so only a picture of equal channels is told exactly.
        shown = shown[:, :1].expand_as(shown).contiguous()
        exact = (linear_weights(network) * shown).sum(1)
        for scale in (1, -7):
            _, unexplained = infidelity(score, shown, nothing, scale * exact, "a", 16)
            assert unexplained < 1e-6
        error, unexplained = infidelity(score, shown, nothing, exact.flip(1), "a", 16)
        assert 0.05 < unexplained <= 1
        assert infidelity(score, shown, nothing, exact.flip(1), "a", 16) == (error, unexplained)
        error, unexplained = infidelity(score, shown, nothing, 0 * exact, "a", 16)
        assert unexplained == pytest.approx(1)


def test_sensitivity_is_the_largest_relative_change() -> None:
    shown = images()
    same = torch.ones(1, 3, 3)
    assert sensitivity(lambda seen: same.expand(len(seen), 3, 3), shown, same, "a", 4) == 0
    found = sensitivity(lambda seen: seen.sum(1), shown, shown.sum(1), "a", 4)
    draws = generator("attribution", "noise", "a")
    noise = 0.02 * shown.std() * (2 * torch.rand(4, *shown.shape[1:], generator=draws) - 1)
    expected = (noise.sum(1).flatten(1).norm(dim=1) / shown.sum(1).norm()).max()
    assert found == pytest.approx(expected.item(), rel=1e-4)


# The table.


@pytest.fixture(scope="module")
def measured(run, plain_run, some_batches):
    return attribution_table(
        run,
        some_batches,
        ["input", "after"],
        ["integrated-gradients", "gradcam"],
        options=FAST,
        untrained=plain_run_as_other(run),
        images=3,
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
        attribution_table(silent, some_batches, images=2, options=Options(steps=2))
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
        known, [batch], ["input"], ["integrated-gradients"], options=Options(steps=2)
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
    options = Options(target="mask", steps=3, window=4, boxes=4, changes=1)
    table, arrays = attribution_table(
        run, [Batch(draws, masks, ("v",), ("g",))], ["input"], list(METHODS), options=options
    )
    adds_up = table[table["method"] != "gradcam"]["completeness_gap"]
    assert adds_up.abs().max() < 1e-4
    assert arrays["maps"].shape == (4, 1, 8, 8)


def test_the_network_is_left_as_it_was(run, some_batches, fingerprint) -> None:
    before = fingerprint(run.network)
    attribution_table(run, some_batches, ["tokens"], list(METHODS), options=FAST, images=1)
    assert fingerprint(run.network) == before
    with pytest.raises(SiteError, match="gives tokens, whose grid the network does not say"):
        attribution_table(run_of_tokens(run), some_batches, ["function"], options=FAST, images=1)
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
        attribution_table(run, some_batches, ["aftr"])
    with pytest.raises(UserError, match=r"unknown method 'gradcm'\. Did you mean 'gradcam'\?"):
        attribution_table(run, some_batches, methods=["gradcm"])
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
