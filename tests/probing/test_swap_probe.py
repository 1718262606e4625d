from __future__ import annotations

import copy
import dataclasses

import pytest
import torch

from llm4seg_probe.data.opening import open_collection
from llm4seg_probe.errors import DataError, SiteError
from llm4seg_probe.measures.linear_map import LinearMap
from llm4seg_probe.models.network import build_network
from llm4seg_probe.probing.swap import (
    MEAN,
    OTHER_ARM,
    OTHER_SEED,
    Exchange,
    Fitted,
    fit,
    swap_table,
)
from llm4seg_probe.tables import SWAP, conform


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
