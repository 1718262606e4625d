"""The probe `rank`: its table and its command."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from commands import invoke

import llm4seg_probe as lp
from llm4seg_probe.errors import DataError, SiteError, UserError
from llm4seg_probe.models.network import build_network
from llm4seg_probe.probes.rank import RANK
from llm4seg_probe.probes.rank.table import rank_table
from llm4seg_probe.tables import read_table, write_table
from llm4seg_probe.training.stored_run import load

KEYS = list(RANK.keys)
MEASURES = [name for name in RANK.values if name not in ("tokens", "channels")]


def hooked(network, modules, images):
    """Features (B, C, H, W) of modules' outputs as numpy arrays, by plain hooks."""
    seen: dict[str, list[np.ndarray]] = {name: [] for name in modules}
    handles = [
        network.get_submodule(name).register_forward_hook(
            lambda _, inputs, output, name=name: seen[name].append(output.detach().numpy().copy())
        )
        for name in modules
    ]
    with torch.no_grad():
        for batch in images:
            network(batch)
    for handle in handles:
        handle.remove()
    return {name: np.concatenate(parts) for name, parts in seen.items()}


def measures_by_numpy(x: np.ndarray) -> dict[str, float]:
    """All measures of one token matrix (N, C)."""
    x = x.astype(np.float64)
    sigma = np.linalg.svd(x, compute_uv=False)
    shares = sigma / sigma.sum()
    positive = shares[shares > 0]
    entropy = -(positive * np.log(positive)).sum()
    norms = (x**2).sum(1)
    return {
        "entropy": entropy,
        "effective_rank": np.exp(entropy),
        "lsvr": -np.log(shares[0]),
        "sigma1_share": shares[0],
        "stable_rank": (sigma**2).sum() / sigma[0] ** 2,
        "participation_ratio": (sigma**2).sum() ** 2 / (sigma**4).sum(),
        "largest_token_share": norms.max() / norms.sum(),
    }


def test_the_table_is_that_of_a_computation_with_numpy_alone(plain_run, some_batches):
    modules = {"encoder.2": "encoder2", "before": "encoder5", "decoder.1": "Up_conv2"}
    table = rank_table(plain_run, some_batches, list(modules), null_images=0)
    features = hooked(plain_run.network, modules.values(), [b.images for b in some_batches])
    masks = np.concatenate([batch.masks.numpy()[:, 0] for batch in some_batches])
    names = [name for batch in some_batches for name in batch.names]
    groups = [group for batch in some_batches for group in batch.groups]
    expected = {}
    for site, module in modules.items():
        count, channels, height, width = features[module].shape
        tokens = features[module].transpose(0, 2, 3, 1).reshape(count, -1, channels)
        blocks = masks.reshape(count, height, 32 // height, width, 32 // width)
        inside = blocks.mean((2, 4)).reshape(count, -1) >= 0.5
        for i in range(count):
            for part, rows in (
                ("all", tokens[i]),
                ("foreground", tokens[i, inside[i]]),
                ("background", tokens[i, ~inside[i]]),
            ):
                values = measures_by_numpy(rows) if len(rows) else dict.fromkeys(MEASURES, math.nan)
                key = ("cnn-0", "discs", "cnn", 0, site, part, "", names[i], groups[i])
                expected[key] = {"tokens": len(rows), "channels": channels} | values
        everything = tokens.reshape(-1, channels)
        key = ("cnn-0", "discs", "cnn", 0, site, "dataset", "", "", "")
        expected[key] = {"tokens": len(everything), "channels": channels} | measures_by_numpy(
            everything
        )
    found = {
        tuple(row[key] for key in KEYS): {name: row[name] for name in RANK.values}
        for row in table.to_dict("records")
    }
    assert found.keys() == expected.keys()
    empty = 0
    for key, values in expected.items():
        empty += math.isnan(values["entropy"])
        assert found[key] == pytest.approx(values, rel=1e-6, abs=1e-8, nan_ok=True), key
    assert 0 < empty < 10  # images whose disc fills no coarse token


def test_the_published_effective_rank_and_lsvr_come_out_of_the_published_network(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "models")
    from golden_formula import golden, golden_input, golden_state

    from llm4seg_probe.models.cmunext import CMUNeXt

    network = CMUNeXt().eval()
    network.load_state_dict(golden_state(golden("cnn")))
    with torch.no_grad(), lp.record(network, ["encoder5"]) as recording:
        network(golden_input())
    tokens = recording["encoder5"]
    found = [lp.effective_rank(tokens).item(), lp.lsvr(tokens).item()]
    # Through float32 convolutions: 1e-4, as the golden numbers say of themselves.
    assert found == pytest.approx(golden("llama")["before_er_lsvr"], rel=1e-4)


def test_every_site_of_a_boosted_network_has_its_rows(run, some_batches):
    sites = ["encoder.1", "before", "tokens", "attention", "layer", "after", "decoder.1", "logits"]
    table = rank_table(run, some_batches, sites, null_images=4)
    assert table["site"].unique().tolist() == sites
    measured = table[table["null"] == ""].groupby(["site", "part"], sort=False).size()
    for site in sites:
        assert measured[site].to_dict() == {
            "all": 10, "foreground": 10, "background": 10, "dataset": 1
        }  # fmt: skip
    shapes = table[table["part"] == "all"].groupby("site")[["tokens", "channels"]].first()
    assert shapes.loc["layer"].tolist() == [4, 32]
    assert shapes.loc["logits"].tolist() == [1024, 1]
    whole = table[table["part"] == "all"]
    assert (whole["effective_rank"] <= whole[["tokens", "channels"]].min(axis=1) + 1e-6).all()
    assert (whole["effective_rank"] >= 1).all()
    assert whole["largest_token_share"].between(0, 1).all()
    parts = table[table["part"].isin(["foreground", "background"])]
    together = parts.groupby(["site", "image"])["tokens"].sum()
    for (site, _), tokens in together.items():
        assert tokens == shapes.loc[site, "tokens"]


def test_null_bands_are_rows_of_their_own(run, some_batches, tiny_config):
    untrained = build_network(tiny_config.model_copy(update={"seed": 5}))
    table = rank_table(run, some_batches, ["before"], ["all"], untrained=untrained, null_images=6)
    counts = table.groupby("null").size().to_dict()
    assert counts == {"": 10, "shuffled": 6, "gaussian": 6, "untrained": 6}
    by_null = {null: rows.set_index("image") for null, rows in table.groupby("null")}
    images = by_null["shuffled"].index
    assert set(by_null["untrained"].index) == set(images) == set(by_null["gaussian"].index)
    for null in ("shuffled", "gaussian", "untrained"):
        difference = by_null[null].loc[images, "entropy"] - by_null[""].loc[images, "entropy"]
        assert (difference.abs() > 1e-6).all(), null
    # A token's norm stays its own in all but the untrained network.
    for image in images:
        share = by_null["gaussian"].loc[image, "largest_token_share"]
        assert share == pytest.approx(by_null[""].loc[image, "largest_token_share"], rel=1e-6)


def test_the_untrained_network_is_measured_in_evaluation_mode_and_left_in_training_mode(
    run, some_batches, fingerprint
):
    untrained = copy.deepcopy(run.network).train()  # as a network comes: in training mode
    before, before_run = fingerprint(untrained), fingerprint(run.network)
    table = rank_table(run, some_batches, ["after"], ["all"], untrained=untrained)
    assert fingerprint(untrained) == before
    assert fingerprint(run.network) == before_run
    same = table[table["null"] == "untrained"].set_index("image")["entropy"]
    itself = table[table["null"] == ""].set_index("image")["entropy"]
    assert same.to_dict() == pytest.approx(itself.to_dict(), rel=1e-5)


def test_batches_do_not_matter(run, some_batches, tiny_config):
    from llm4seg_probe.data.batches import ImageDataset, batches
    from llm4seg_probe.data.datasets import open_collection

    collection = open_collection(tiny_config.data.name, classes=tiny_config.data.classes)
    ids = tuple(name for batch in some_batches for name in batch.names)
    dataset = ImageDataset(collection, ids, tiny_config.data, augment_seed=None)
    tables = [
        rank_table(run, batches(dataset, size), ["after"], null_images=5).sort_values(KEYS)
        for size in (10, 3)
    ]
    first, second = (table.reset_index(drop=True) for table in tables)
    assert first[KEYS].equals(second[KEYS])
    for name in MEASURES:
        # Convolutions of another batch size differ in their last bits.
        assert second[name].to_numpy() == pytest.approx(
            first[name].to_numpy(), rel=1e-4, abs=1e-6, nan_ok=True
        )


def test_the_same_call_gives_the_same_bits_and_survives_the_file(run, some_batches, tmp_path):
    first = rank_table(run, some_batches)
    assert first.equals(rank_table(run, some_batches))
    write_table(first, tmp_path / "rank.csv", RANK)
    assert first.equals(read_table(tmp_path / "rank.csv", RANK))


def test_memory_does_not_grow_with_the_number_of_images(run, some_batches):
    """Nothing of a batch is held on to once it is measured, but for the small pool."""
    import gc
    import weakref

    alive = []

    def watched():
        for repeat in range(6):
            batch = some_batches[0]
            names = tuple(f"{name}-{repeat}" for name in batch.names)
            copy = dataclasses.replace(batch, images=batch.images.clone(), names=names)
            alive.append(weakref.ref(copy.images))
            yield copy
            del copy
            gc.collect()
            assert sum(reference() is not None for reference in alive) <= 2

    table = rank_table(run, watched(), ["before"], null_images=2)
    assert (table["null"] == "").sum() == 6 * 4 * 3 + 1


def test_an_unknown_site_is_named_before_any_image_is_read(run):
    def unread():
        raise AssertionError("an image was read")
        yield

    with pytest.raises(SiteError, match=r"unknown site 'befor'\. Did you mean 'before'\?"):
        rank_table(run, unread(), ["after", "befor"])


def test_images_of_another_channel_count_are_named(run, some_batches):
    batch = some_batches[0]
    coloured = dataclasses.replace(batch, images=batch.images.repeat(1, 3, 1, 1))
    with pytest.raises(DataError) as error:
        rank_table(run, [coloured])
    assert str(error.value) == (
        f"image {batch.names[0]} has 3 channels, but run llm-0 was trained on 1 (data.channels)"
    )


def test_no_foreground_at_all_is_an_error_unless_it_is_not_asked_for(run, some_batches):
    empty = [dataclasses.replace(b, masks=torch.zeros_like(b.masks)) for b in some_batches]
    with pytest.raises(DataError) as error:
        rank_table(run, empty)
    assert str(error.value) == (
        "no image that run llm-0 was probed on has any foreground: give images with masks, or "
        "measure other parts (--parts all,dataset)"
    )
    table = rank_table(run, empty, parts=["all", "dataset"])
    assert set(table["part"]) == {"all", "dataset"}


def test_a_site_named_twice_is_measured_once_and_none_is_an_error(run, some_batches):
    table = rank_table(run, some_batches, ["after", "after"], ["all", "all"], null_images=0)
    assert len(table) == 10
    with pytest.raises(SiteError, match="no site to probe: name some, such as before and after"):
        rank_table(run, some_batches, [])


def test_no_images_and_unknown_parts_are_errors(run, some_batches):
    with pytest.raises(DataError, match="there are no images to probe run llm-0 on"):
        rank_table(run, [])
    with pytest.raises(UserError) as error:
        rank_table(run, some_batches, parts=["forground"])
    assert str(error.value).startswith(
        "unknown part 'forground'. Did you mean 'foreground'? Valid: foreground, background"
    )


def effective_ranks_by_numpy(path: Path, site: str) -> list[float]:
    """Effective rank of each test image from a plain hook and numpy's SVD, in float64."""
    run = load(path)
    boosted = run.network.get_submodule("encoder5")
    module = boosted.host if hasattr(boosted, "host") and site == "before" else boosted
    seen: list[np.ndarray] = []
    handle = module.register_forward_hook(lambda _m, _i, out: seen.append(out.detach().numpy()))
    with torch.no_grad():
        for batch in run.batches("test"):
            run.network(batch.images)
    handle.remove()
    ranks = []
    for features in np.concatenate(seen):
        sigma = np.linalg.svd(features.reshape(len(features), -1).T.astype(float))[1]
        share = sigma[sigma > 0] / sigma.sum()
        ranks.append(float(np.exp(-(share * np.log(share)).sum())))
    return ranks


@pytest.mark.parametrize("site", ["before", "after"])
def test_rank_of_a_checkpoint_copied_elsewhere_is_what_numpy_computes(
    trained: dict[str, Path], site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = [trained["cnn-0"], trained["llm-0"]]
    for number, path in enumerate(two):
        shutil.copy(path, tmp_path / f"copy{number}.pt")
    monkeypatch.chdir(tmp_path)
    result = invoke("rank", "--ckpt", "copy*.pt", "--out", "found", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    table = pd.read_csv(found["table"], keep_default_na=False, na_values={"effective_rank": [""]})
    rows = table[(table["null"] == "") & (table["part"] == "all") & (table["site"] == site)]
    for path, arm in zip(two, ("cnn", "llm"), strict=True):
        ours = rows.loc[rows["arm"] == arm, "effective_rank"].to_list()
        assert ours == pytest.approx(effective_ranks_by_numpy(path, site), rel=1e-6)
    for figure in found["figures"]:
        assert Path(figure).stat().st_size > 1000


def test_other_images_are_probed_when_asked(
    trained: dict[str, Path], tiny_data: Path, tmp_path: Path
) -> None:
    few = tmp_path / "few"
    for part in ("images", "masks"):
        (few / part).mkdir(parents=True)
        for index in range(3):
            shutil.copy(tiny_data / part / f"disc{index:02d}.png", few / part)
    out = tmp_path / "out"
    assert invoke("rank", "--ckpt", trained["cnn-0"], "--data", few, "--out", out).exit_code == 0
    table = pd.read_csv(out / "rank.csv", keep_default_na=False)
    assert {"disc00", "disc01", "disc02"} == set(table["image"]) - {""}
    assert set(table["dataset"]) == {"few"}
