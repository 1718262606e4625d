"""The probe `intervene`: its table, its effects, its figure and its command."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import studies
import torch
from commands import invoke, refused
from legible import legible
from matplotlib.collections import PathCollection
from matplotlib.text import Text
from scipy.stats import t as student

from llm4seg_probe.arms import ARMS
from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.errors import ConfigError, DataError, SiteError, TableError
from llm4seg_probe.models.network import build_network
from llm4seg_probe.probes.effects import effects
from llm4seg_probe.probes.intervene import INTERVENE, INTERVENE_EFFECTS, Options
from llm4seg_probe.probes.intervene import figure as intervene_figure
from llm4seg_probe.probes.intervene.catalogue import CATALOGUE, Donors, parts_of
from llm4seg_probe.probes.intervene.table import intervene_table
from llm4seg_probe.tables import conform
from llm4seg_probe.training.scoring import score

QUICK = Options(ranks=(1, 4), directions=1)
CHANGES = {
    ("bypass", ""): -0.2,
    ("head-off", "1"): 0.0,
    ("low-rank", "1"): -0.1,
    ("low-rank", "8"): -0.01,
}


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
    assert kinds == ["none", *(name for name in CATALOGUE if name not in left_out)]
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
    options = Options(ranks=(), directions=0, sites=(), other_layer=1, only=tuple(CATALOGUE))
    other = in_arm(run, arm)
    found = intervene_table(other, some_batches[:1], collection, options, other_seed=other.network)
    done = set(found.table["intervention"]) - {"none"}
    needs = {name: kind.needs for name, kind in CATALOGUE.items()}
    assert done == {name for name, part in needs.items() if part in parts_of(ARMS[arm])}
    assert done | set(found.skipped) == set(CATALOGUE)
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
        intervene_table(run, some_batches, collection, Options(sites=("befor",)))
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


@pytest.fixture(scope="module")
def found():
    table = studies.changed_scores(
        {"cnn": 0.6, "llm": 0.7},
        {"cnn": {("low-rank", "1"): -0.05, ("low-rank", "8"): 0.0}, "llm": CHANGES},
        ("intervention", "setting"),
        ("none", ""),
    )
    found = effects(table, ["intervention", "setting"], ["none", ""])
    return conform(found, INTERVENE_EFFECTS)


def test_a_change_is_paired_by_run_and_has_the_t_interval_over_seeds(found):
    effect = found
    own = effect[(effect["arm"] == "llm") & (effect["score"] == "iou")]
    assert own.set_index(["intervention", "setting"]).index.tolist() == list(CHANGES)
    row = own.iloc[0]
    per_seed = np.array([-0.2, -0.22, -0.24, -0.26])
    half = student.ppf(0.975, 3) * per_seed.std(ddof=1) / 2
    assert row["change"] == pytest.approx(per_seed.mean())
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(
        (per_seed.mean() - half, per_seed.mean() + half)
    )
    assert row["case_low"] <= row["change"] <= row["case_high"]
    assert (row["n_seeds"], row["n_cases"], row["n_groups"]) == (4, 24, 12)
    assert set(effect.loc[effect["arm"] == "cnn", "intervention"]) == {"low-rank"}


def test_one_seed_and_few_groups_have_no_interval_and_say_so():
    table = studies.changed_scores(
        {"llm": 0.7}, {"llm": {("bypass", ""): -0.2}}, ("intervention", "setting"), ("none", ""),
        seeds=1, groups=3,
    )  # fmt: skip
    row = effects(table, ["intervention", "setting"], ["none", ""]).iloc[0]
    assert row["change"] == pytest.approx(-0.2)
    assert row[["ci_low", "boot_low", "case_low"]].isna().all()
    assert "3 groups are too few" in row["note"]
    assert "one seed cannot show this" in row["note"]


def test_without_any_change_there_are_no_effects():
    unchanged = (("intervention", "setting"), ("none", ""))
    table = studies.changed_scores({"cnn": 0.6}, {"cnn": {}}, *unchanged)
    assert effects(table, ["intervention", "setting"], ["none", ""]).empty


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


def test_the_interventions_figure_has_a_row_per_change_and_a_curve_over_ranks(found):
    figure = intervene_figure.figure(found)
    texts, dots = drawn(figure)
    assert {
        "Layer bypassed",
        "Head 1 off",
        "Change in IoU (difference)",
        "LLM, frozen",
        "CNN",
    } <= texts
    assert [x for x, _ in dots[0]] == pytest.approx([-0.23, 0.0])
    lines = {line.get_color(): line for line in figure.axes[1].lines if len(line.get_xdata()) == 2}
    curves = [line for line in lines.values() if list(line.get_xdata()) == [1, 8]]
    assert sorted(curve.get_ydata()[0] for curve in curves) == pytest.approx([-0.115, -0.0575])
    legible(figure)
    with pytest.raises(TableError, match="no row on nsd"):
        intervene_figure.figure(found, "nsd")


@pytest.mark.slow
def test_the_command_on_two_seeds_of_a_trained_arm(
    trained: dict[str, Path], tmp_path: Path
) -> None:
    both = ("--ckpt", trained["transformer-0"], "--ckpt", trained["transformer-1"])
    result = invoke(
        "intervene", *both, "--ranks", "1,2", "--directions", 1, "--other-layer", 2, "--out",
        tmp_path, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    table = pd.read_csv(found["table"], keep_default_na=False)
    rows = table[table["intervention"] == "other-seed-weights"]
    assert set(rows["run"]) == {"transformer-0", "transformer-1"}
    said = "transformer-0, transformer-1: left out other-layer-weights: arm transformer has no"
    assert said in result.stderr
    assert set(pd.read_csv(found["effects"])["n_seeds"]) == {2}
    assert all(Path(figure).stat().st_size > 1000 for figure in found["figures"])


@pytest.mark.slow
def test_the_layer_of_another_seed_needs_that_seed(
    trained: dict[str, Path], tmp_path: Path
) -> None:
    given = ("--only", "other-seed-weights", "--out", tmp_path)
    alone = invoke("intervene", "--ckpt", trained["transformer-0"], *given)
    assert "no checkpoint of this arm with another seed was given" in alone.stderr


def test_the_command_refuses_in_one_line(trained: dict[str, Path], tmp_path: Path) -> None:
    given = ("intervene", "--ckpt", trained["transformer-0"], "--out", tmp_path)
    for option, value, message in (
        ("--only", "head", "unknown intervention 'head'. Did you mean 'head-off'"),
        ("--ranks", "0,4", "--ranks holds '0': give whole numbers from 1, such as 1,2,4,8"),
        ("--sites", "aftr", "unknown site 'aftr'. Did you mean 'after'"),
    ):
        assert message in refused(*given, option, value)
