from __future__ import annotations

import dataclasses

import pandas as pd
import pytest
import torch

from llm4seg_probe.data.opening import open_collection
from llm4seg_probe.errors import ConfigError, DataError, SiteError
from llm4seg_probe.models.arms import ARMS
from llm4seg_probe.models.network import build_network
from llm4seg_probe.probing.applicable import KINDS, Options, parts_of
from llm4seg_probe.probing.donors import Donors
from llm4seg_probe.probing.intervene import intervene_table
from llm4seg_probe.tables import INTERVENE, conform
from llm4seg_probe.training.evaluate import score

QUICK = Options(ranks=(1, 4), directions=1)


@pytest.fixture(scope="module")
def collection(tiny_config):
    return open_collection(tiny_config.data.name, classes=tiny_config.data.classes)


@pytest.fixture(scope="module")
def result(run, some_batches, collection):
    return intervene_table(run, some_batches, collection, QUICK)


def of(table, name, setting=""):
    return table[(table["intervention"] == name) & (table["setting"] == setting)]


def in_arm(run, arm):
    """The fixture's run in another arm, untrained."""
    config = run.config.model_copy(update={"arm": arm})
    return dataclasses.replace(
        run, name=f"{arm}-0", arm=arm, config=config, network=build_network(config).eval()
    )


def test_the_baseline_rows_are_the_scores_of_an_evaluation(run, some_batches, collection, result):
    names = [name for batch in some_batches for name in batch.names]
    expected = pd.DataFrame(
        score(run.network, run.config, collection, [collection.sample(name) for name in names])
    )
    found = of(result.table, "none")
    assert found["image"].tolist() == names
    for column in ("iou", "dice"):
        assert found[column].tolist() == expected[column].tolist()
        assert found[f"{column}_change"].eq(0).all()
    assert found["group"].tolist() == expected["group"].tolist()


def test_changes_are_against_the_same_image_and_the_table_fits_its_schema(result):
    conform(result.table, INTERVENE)
    plain = of(result.table, "none").set_index("image")
    for _, rows in result.table.groupby(["intervention", "setting"]):
        own = rows.set_index("image")
        assert own.index.tolist() == plain.index.tolist()
        assert (own["iou"] - plain["iou"]).tolist() == own["iou_change"].tolist()


def test_every_kind_is_there_in_order_and_the_rest_is_explained(result):
    settings = result.table.drop_duplicates(["intervention", "setting"])
    kinds = settings["intervention"].drop_duplicates().tolist()
    left_out = ["other-seed-weights", "other-layer-weights"]
    assert kinds == ["none", *(name for name in KINDS if name not in left_out)]
    assert settings.loc[settings["intervention"] == "head-off", "setting"].tolist() == list("1234")
    positions = settings.loc[settings["intervention"] == "position", "setting"].tolist()
    assert positions == ["rope", "axial-rope", "none"]
    assert result.skipped == {
        "other-seed-weights": "arm llm has no layer of its own seed",
        "other-layer-weights": "no layer was named (--other-layer)",
    }


@pytest.mark.parametrize("arm", ["cnn", "adapters", "mlp-only", "attention-only", "transformer"])
def test_what_applies_in_an_arm_is_done_and_what_does_not_is_said(
    run, some_batches, collection, arm
):
    options = Options(ranks=(), directions=0, patch_sites=(), other_layer=1, only=tuple(KINDS))
    other = in_arm(run, arm)
    found = intervene_table(other, some_batches[:1], collection, options, other_seed=other.network)
    done = set(found.table["intervention"]) - {"none"}
    needs = {name: kind.needs for name, kind in KINDS.items()}
    assert done == {name for name, part in needs.items() if part in parts_of(ARMS[arm])}
    assert done | set(found.skipped) == set(KINDS)
    assert found.skipped["low-rank"] == "no rank was named"
    if arm == "adapters":
        assert done == {"bypass", "permuted"}
        assert of(found.table, "bypass")["iou_change"].eq(0).all()
    if arm == "transformer":  # its own layer put in as another seed's
        assert of(found.table, "other-seed-weights")["iou_change"].eq(0).all()
        assert found.skipped["other-layer-weights"] == "arm transformer has no pre-trained layer"


def test_only_what_was_named_is_done(run, some_batches, collection):
    options = Options(only=("bypass",))
    table = intervene_table(run, some_batches, collection, options).table
    assert table["intervention"].unique().tolist() == ["none", "bypass"]
    with pytest.raises(ConfigError, match=r"unknown intervention 'bypas'. Did you mean 'bypass'"):
        intervene_table(run, some_batches, collection, Options(only=("bypas",)))


def test_patches_come_from_another_image_of_another_group(run, some_batches):
    grouped = [
        dataclasses.replace(batch, groups=tuple("ab"[int(name[-1]) % 2] for name in batch.names))
        for batch in some_batches
    ]
    donors = Donors(run, grouped, ["after"])
    features = {}
    for batch in grouped:
        with (
            torch.no_grad(),
            run.network.get_submodule("encoder5").register_forward_hook(
                lambda _m, _i, out: features.update(tokens=out.flatten(2).transpose(1, 2))
            ),
        ):
            run.network(batch.images)
        for name, group, tokens in zip(batch.names, batch.groups, features["tokens"], strict=True):
            features[name] = group, tokens
    for batch in grouped:
        for name, group in zip(batch.names, batch.groups, strict=True):
            given = donors._tokens["after"][donors._partner(name, group)]
            (giver,) = [
                other
                for other, seen in features.items()
                if other != "tokens" and torch.allclose(seen[1], given, atol=1e-5)
            ]
            assert features[giver][0] != group


def test_a_single_image_is_patched_by_none(run, some_batches, collection):
    alone = dataclasses.replace(
        some_batches[0],
        images=some_batches[0].images[:1],
        masks=some_batches[0].masks[:1],
        names=some_batches[0].names[:1],
        groups=some_batches[0].groups[:1],
    )
    found = intervene_table(run, [alone], collection, Options(only=("patched",)))
    assert found.skipped == {"patched": "there is no other image, or no site"}
    assert found.table["intervention"].tolist() == ["none"]


def test_bad_input_says_what_to_do(run, some_batches, collection, tiny_config):
    with pytest.raises(SiteError, match=r"unknown site 'befor'. Did you mean 'before'"):
        intervene_table(run, some_batches, collection, Options(patch_sites=("befor",)))
    with pytest.raises(DataError, match="there are no images"):
        intervene_table(run, [], collection, QUICK)
    wrong = [dataclasses.replace(b, images=b.images.expand(-1, 3, -1, -1)) for b in some_batches]
    with pytest.raises(DataError, match="has 3 channels, but run llm-0 was trained on 1"):
        intervene_table(run, wrong, collection, QUICK)

    class Empty:
        def sample(self, name):
            return collection.sample(name)

        def read(self, sample):
            raw = collection.read(sample)
            return dataclasses.replace(raw, mask=raw.mask & False)

    with pytest.raises(DataError, match="has any foreground: give images that have"):
        intervene_table(run, some_batches, Empty(), Options(only=("bypass",)))


def test_the_network_is_left_as_it_was(run, some_batches, collection, fingerprint):
    before = fingerprint(run.network)
    intervene_table(run, some_batches[:1], collection, QUICK)
    assert fingerprint(run.network) == before
