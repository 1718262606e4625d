"""The probe `similarity`: its table, its figures and its command."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from commands import invoke, refused

from llm4seg_probe import progress
from llm4seg_probe.activations.passes import Pool
from llm4seg_probe.activations.recorder import record
from llm4seg_probe.drawing.style import ARM_STYLES, COLUMN
from llm4seg_probe.errors import DataError, SiteError, TableError
from llm4seg_probe.measures.similarity import linear_cka, mean_cosine, procrustes_similarity
from llm4seg_probe.models.network import build_network
from llm4seg_probe.probes.similarity import SIMILARITY
from llm4seg_probe.probes.similarity.figure import MOST_NUMBERED, figure, sites_figure
from llm4seg_probe.probes.similarity.table import (
    Sampled,
    positions,
    sampled_features,
    similarity_table,
)
from llm4seg_probe.tables import conform, read_table, write_table

MEASURES = ["cka", "procrustes", "cosine"]
SITES = ["before", "after"]


def sample(run, batches, folder, sites=("before", "after"), **options):
    return sampled_features(run, batches, sites, folder / run.name, **options)


def another_seed(run, seed=1):
    config = run.config.model_copy(update={"seed": seed})
    network = build_network(config).eval()
    return dataclasses.replace(run, name=f"{run.arm}-{seed}", seed=seed, config=config,
                               network=network)  # fmt: skip


def compared(samples):
    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "say", said.append)
        return similarity_table(samples), said


def test_sites_of_one_run_are_what_the_measures_say_of_hooked_features(run, some_batches, tmp_path):
    table, said = compared([sample(run, some_batches, tmp_path)])
    assert said == []
    pool = Pool(64)
    for batch in some_batches:
        pool.add(batch)
    images = torch.cat([batch.images for batch in pool.batches()])
    with torch.no_grad(), record(run.network, ["before", "after"]) as recording:
        run.network(images)
    x, y = (recording[site].flatten(0, 1)[None] for site in ("before", "after"))
    own = table[table["null"] == ""].iloc[0]
    expected = [m(x, y).item() for m in (linear_cka, procrustes_similarity, mean_cosine)]
    assert own[MEASURES].tolist() == pytest.approx(expected, rel=1e-4)
    assert own[["between", "site", "other_site"]].tolist() == ["sites", "before", "after"]
    assert own[["images", "tokens", "channels", "other_channels"]].tolist() == [10, 40, 8, 8]
    assert table["null"].tolist() == ["", "shuffled"]


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def made(folder, arm, seed, tokens, site="after"):
    """Features (I, P, C) as if a run had given them."""
    name = f"{arm}-{seed}"
    np.save(folder / f"{name}.npy", tokens.numpy())
    columns = {"run": name, "dataset": "made", "arm": arm, "seed": seed}
    images = tuple(map(str, range(len(tokens))))
    grid = (tokens.shape[1], 1)
    return Sampled(columns, arm, images, {site: grid}, {site: folder / f"{name}.npy"})


def test_identical_rotated_independent_and_position_only_features(tmp_path):
    x = draw(40, 25, 6)
    turned = x @ torch.linalg.qr(draw(6, 6, seed=1)).Q
    position = draw(1, 25, 6, seed=2).expand(40, -1, -1)
    cases = {"same": x, "turned": turned, "noise": draw(40, 25, 6, seed=3)}
    runs = [made(tmp_path, arm, 0, tokens) for arm, tokens in {"one": x, **cases}.items()]
    table, _ = compared(runs)
    of_one = table[table["run"] == "one-0"].set_index(["other_arm", "null"])
    assert of_one.loc[("same", ""), MEASURES].tolist() == pytest.approx([1, 1, 1])
    assert of_one.loc[("turned", ""), ["cka", "procrustes"]].tolist() == pytest.approx([1, 1])
    assert abs(of_one.loc[("turned", ""), "cosine"]) < 0.9
    assert of_one.loc[("noise", ""), ["cka", "cosine"]].tolist() == pytest.approx([0, 0], abs=0.03)
    # Exchanging the images breaks what holds x together, not what follows the position.
    assert of_one.loc[("same", "shuffled"), "cka"] < 0.1
    follows = [made(tmp_path, "place", seed, position.contiguous()) for seed in (0, 1)]
    table, _ = compared(follows)
    assert table["between"].tolist() == ["seeds", "seeds"]
    assert table["cka"].tolist() == pytest.approx([1, 1])


def test_pairs_differ_in_the_site_the_arm_or_the_seed_alone(run, plain_run, some_batches, tmp_path):
    runs = [plain_run, run, another_seed(plain_run), another_seed(run)]
    table, _ = compared([sample(one, some_batches, tmp_path) for one in runs])
    own = table[table["null"] == ""]
    found = own.groupby("between")[["run", "other_run"]].apply(
        lambda rows: sorted(set(map(tuple, rows.values.tolist())))
    )
    assert found["arms"] == [("cnn-0", "llm-0"), ("cnn-1", "llm-1")]
    assert found["seeds"] == [("cnn-0", "cnn-1"), ("llm-0", "llm-1")]
    assert found["sites"] == [(one.name, one.name) for one in sorted(runs, key=lambda r: r.name)]
    # In a plain CNN before and after are one place, and the encoders of one seed start equal.
    plain = own[(own["run"] == "cnn-0") & (own["between"] == "sites")]
    assert plain[MEASURES].iloc[0].tolist() == pytest.approx([1, 1, 1])


def test_sites_of_a_layer_are_left_out_where_there_is_none(run, plain_run, some_batches, tmp_path):
    sites = ("before", "tokens", "layer")
    samples = [sample(one, some_batches, tmp_path, sites) for one in (plain_run, run)]
    assert [list(found.grids) for found in samples] == [["before"], list(sites)]
    table, _ = compared(samples)
    own = table[table["null"] == ""]
    assert own[["between", "site", "other_site"]].values.tolist() == [
        ["sites", "before", "tokens"],
        ["sites", "before", "layer"],
        ["sites", "tokens", "layer"],
        ["arms", "before", "before"],
    ]
    assert own["cosine"].isna().tolist() == [True, True, False, False]  # 8 against 32 channels


def test_large_grids_are_sampled_at_the_same_positions_in_every_image(run, some_batches, tmp_path):
    found = sample(run, some_batches, tmp_path, ("encoder.1",), images=6, tokens=60)
    features = found.features("encoder.1")
    assert features.shape == (6, 10, 4)
    assert found.grids["encoder.1"] == (32, 32)
    again = sample(another_seed(run, 0), some_batches, tmp_path / "again", ("encoder.1",),
                   images=6, tokens=60)  # fmt: skip
    assert again.images == found.images
    chosen = positions((32, 32), 10)
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    image = next(
        batch.images[batch.names.index(found.images[2])]
        for batch in some_batches
        if found.images[2] in batch.names
    )
    with torch.no_grad(), record(run.network, ["encoder.1"]) as recording:
        run.network(image[None])
    torch.testing.assert_close(features[2], recording["encoder.1"][0, chosen])


def test_different_grids_are_said_and_not_compared(run, some_batches, tmp_path):
    samples = [sample(run, some_batches, tmp_path, ("encoder.1", "before", "after"))]
    table, said = compared(samples)
    assert table[["site", "other_site"]].drop_duplicates().values.tolist() == [["before", "after"]]
    assert said == [
        f"Not compared, for want of the same tokens: 32 × 32 tokens at encoder.1 of llm, and 2 × 2 "
        f"tokens at {site} of llm"
        for site in ("before", "after")
    ]
    with pytest.raises(SiteError, match=r"no two of the sites \(encoder.1, after\) have the same"):
        compared([sample(run, some_batches, tmp_path, ("encoder.1", "after"))])


def test_what_cannot_be_compared_says_why(run, plain_run, some_batches, tmp_path):
    with pytest.raises(SiteError, match="nothing to compare: 1 run with the sites after; give two"):
        compared([sample(run, some_batches, tmp_path, ("after",))])
    with pytest.raises(SiteError, match="nothing to compare: 1 run with the sites none"):
        compared([sample(plain_run, some_batches, tmp_path, ("layer",))])
    with pytest.raises(SiteError, match="unknown site 'befor'"):
        sample(run, some_batches, tmp_path, ("befor", "after"))
    fewer = [sample(run, some_batches, tmp_path), sample(plain_run, some_batches[1:], tmp_path)]
    with pytest.raises(DataError, match="runs llm-0 and cnn-0 have different test images"):
        compared(fewer)


def test_the_table_can_be_stored_and_the_network_is_left_alone(
    run, some_batches, tmp_path, fingerprint
):
    before = fingerprint(run.network)
    table, _ = compared([sample(run, some_batches, tmp_path).on("elsewhere")])
    assert fingerprint(run.network) == before
    assert table["dataset"].unique().tolist() == ["elsewhere"]
    write_table(table, tmp_path / "similarity.csv", SIMILARITY)
    assert read_table(tmp_path / "similarity.csv", SIMILARITY).equals(table)


def drawn_table(arms=("llm", "cnn"), seeds=(0, 1)) -> pd.DataFrame:
    """Every pair that the probe compares, each with a number of its own."""
    draw = np.random.default_rng(0)
    runs = list(itertools.product(arms, seeds))
    pairs = [("sites", run, "before", run, "after") for run in runs]
    for (one, other), site in itertools.product(itertools.combinations(runs, 2), SITES):
        if (one[0] == other[0]) != (one[1] == other[1]):
            pairs.append(("arms" if one[1] == other[1] else "seeds", one, site, other, site))
    rows = []
    for between, (arm, seed), site, (other_arm, other_seed), other_site in pairs:
        for null in ("", "shuffled"):
            rows.append({
                "run": f"{arm}-{seed}", "dataset": "made", "arm": arm, "seed": seed, "site": site,
                "other_run": f"{other_arm}-{other_seed}", "other_arm": other_arm,
                "other_seed": other_seed, "other_site": other_site, "null": null,
                "between": between, "images": 9, "tokens": 90, "channels": 8, "other_channels": 8,
                "cka": draw.uniform(0.4, 1) if null == "" else draw.uniform(0, 0.2),
                "procrustes": 0.5, "cosine": -0.25,
            })  # fmt: skip
    return conform(pd.DataFrame(rows), SIMILARITY)


def numbers(axes) -> dict[tuple[int, int], str]:
    """What stands in the cells, by row and column."""
    return {
        (int(text.get_position()[1]), int(text.get_position()[0])): text.get_text()
        for text in axes.texts
        if text.get_text() != "–"
    }


def test_arms_below_seeds_on_and_the_null_above_the_diagonal():
    table = drawn_table()
    drawn = figure(table)
    assert drawn.get_size_inches()[0] == pytest.approx(COLUMN)
    for axes, site in zip(drawn.axes, SITES, strict=False):
        at_site = table[table["site"] == site]
        own = at_site[at_site["null"] == ""]
        arms = at_site[at_site["between"] == "arms"].groupby("null")["cka"].mean()
        seeds = own[own["between"] == "seeds"].groupby("arm")["cka"].mean()
        assert numbers(axes) == {
            (0, 0): f"{seeds['cnn']:.2f}",
            (0, 1): f"{arms['shuffled']:.2f}",
            (1, 0): f"{arms['']:.2f}",
            (1, 1): f"{seeds['llm']:.2f}",
        }
        assert [label.get_text() for label in axes.get_yticklabels()] == ["CNN", "LLM, frozen"]
        assert axes.get_title(loc="left").endswith("above the diagonal: images exchanged")
    assert drawn.axes[-1].get_xlabel() == "Debiased linear CKA (1: alike)"


def test_pairs_of_sites_by_arm_with_the_null_under_each():
    table = drawn_table()
    drawn = sites_figure(table)
    sites = table[table["between"] == "sites"]
    means = sites.groupby(["null", "arm"])["cka"].mean()
    assert numbers(drawn.axes[0]) == {
        (row, column): f"{means[null, arm]:.2f}"
        for row, null in enumerate(["", "shuffled"])
        for column, arm in enumerate(["cnn", "llm"])
    }
    assert [label.get_text() for label in drawn.axes[0].get_yticklabels()] == [
        "before – after", "images exchanged",
    ]  # fmt: skip


def test_as_many_arms_as_have_numbers_fit_a_column():
    arms = [str(arm) for arm in ARM_STYLES][:MOST_NUMBERED]
    assert len(arms) == MOST_NUMBERED
    drawn = figure(drawn_table(arms))
    drawn.draw_without_rendering()
    text = drawn.axes[0].texts[0].get_window_extent()
    cell = drawn.axes[0].get_window_extent().width / len(arms)
    assert text.width < cell
    assert len(numbers(drawn.axes[0])) == MOST_NUMBERED**2


def test_more_conditions_than_fit_lose_their_numbers_not_their_labels():
    arms = [f"arm-with-a-long-name-{number:02d}" for number in range(18)]
    drawn = figure(drawn_table(arms, seeds=(0,)))
    axes = drawn.axes[1]
    assert len(axes.texts) == 0
    values = np.ma.filled(axes.collections[0].get_array(), np.nan)
    assert np.isfinite(values).sum() == 18 * 17
    drawn.draw_without_rendering()
    left = min(label.get_window_extent().x0 for label in axes.get_yticklabels())
    bottom = min(label.get_window_extent().y0 for label in axes.get_xticklabels())
    assert left >= 0
    assert bottom > drawn.axes[-1].get_window_extent().y1


def test_a_single_seed_leaves_the_diagonal_empty_and_another_measure_can_be_drawn():
    drawn = figure(drawn_table(seeds=(0,)), "cosine")
    assert numbers(drawn.axes[0]) == {(0, 1): "−0.25", (1, 0): "−0.25"}
    assert drawn.axes[-1].get_xlabel() == "Mean cosine (−1 to 1)"


def test_a_table_without_such_pairs_is_refused():
    table = drawn_table()
    with pytest.raises(TableError, match=r"similarity\.csv compares neither arms nor seeds"):
        figure(table[table["between"] == "sites"])
    with pytest.raises(TableError, match=r"similarity\.csv does not compare sites"):
        sites_figure(table[table["between"] == "arms"])


def test_the_command_compares_sites_arms_and_seeds(
    trained: dict[str, Path], tmp_path: Path
) -> None:
    given = [word for arm in ("cnn-0", "llm-0", "llm-1") for word in ("--ckpt", trained[arm])]
    result = invoke(
        "similarity", *given, "--sites", "before,layer,after", "--out", tmp_path, "--json"
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    table = pd.read_csv(found["table"], keep_default_na=False)
    assert table[table["null"] == ""]["between"].value_counts().to_dict() == {
        "sites": 1 + 3 + 3, "arms": 2, "seeds": 3,
    }  # fmt: skip
    plain = table[(table["run"] == "cnn-0") & (table["between"] == "sites")]
    assert plain["cka"].astype(float).iloc[0] == pytest.approx(1)
    figures = {Path(path).stem for path in found["figures"]}
    assert figures == {"similarity-arms", "similarity-sites"}


def test_the_command_compares_the_sites_of_a_single_run(
    trained: dict[str, Path], tmp_path: Path
) -> None:
    result = invoke("similarity", "--ckpt", trained["llm-1"], "--images", 2, "--tokens", 16,
                    "--sites", "before,after,encoder.1", "--out", tmp_path)  # fmt: skip
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "similarity.csv", keep_default_na=False)
    assert table[["images", "tokens"]].drop_duplicates().values.tolist() == [[2, 16]]
    assert "Not compared, for want of the same tokens: 4 × 4 tokens at before of llm" in (
        result.stderr
    )
    assert not (tmp_path / "figures" / "similarity-arms.svg").exists()


def test_the_command_refuses_in_one_line(trained: dict[str, Path], tmp_path: Path) -> None:
    given = ("--ckpt", trained["llm-0"], "--out", tmp_path)
    assert "unknown site 'befor'. Did you mean 'before'?" in refused(
        "similarity", *given, "--sites", "befor,after"
    )
    assert "nothing to compare: 1 run with the sites after; give two sites, or runs" in (
        refused("similarity", *given, "--sites", "after")
    )
    assert list(tmp_path.iterdir()) == []
