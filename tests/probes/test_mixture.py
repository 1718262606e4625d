"""The probe `mixture`: closed forms of its numbers, its null, and runs from training to figure."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from figure_checks import edges_with_ink, texts_on_one_another

import llm4seg_probe as lp
from llm4seg_probe.config import Config
from llm4seg_probe.errors import CheckpointError, SiteError
from llm4seg_probe.models.network import build_network
from llm4seg_probe.probes.mixture import AGREEMENT, MIXTURE, SEEDS
from llm4seg_probe.probes.mixture.agreement import by_mixture, derived, mean_correlation
from llm4seg_probe.probes.mixture.figure import epochs_figure, stored_figure
from llm4seg_probe.probes.mixture.table import mixture_table, spread
from llm4seg_probe.tables import GATES, conform, read_table
from llm4seg_probe.training.stored_run import load
from llm4seg_probe.training.train import train

LAYERS = (3, 9, 15, 21)


def rows(weights: np.ndarray, arm: str = "llm-mix", **fields: object) -> pd.DataFrame:
    """Table of runs with these weights (seeds, epochs, layers), the last epoch the stored one."""
    found = []
    for seed, of_run in enumerate(weights):
        for epoch, of_epoch in enumerate(of_run):
            for checkpoint in ("", "best", "last") if epoch == len(of_run) - 1 else ("",):
                keys = {"run": f"{arm}-{seed}", "dataset": "discs", "arm": arm, "seed": seed,
                        "checkpoint": checkpoint, "epoch": epoch}  # fmt: skip
                facts = {"layers": "+".join(map(str, LAYERS)), "learned": "yes", **fields}
                for layer, weight in zip(LAYERS, of_epoch, strict=True):
                    found.append({**keys, "layer": str(layer), "weight": weight, **facts})
                named = dict(zip(map(str, LAYERS), of_epoch, strict=True))
                found.append({**keys, "layer": "", **spread(named, 30), **facts})
    return pd.DataFrame(found).reindex(columns=list(MIXTURE.columns))


def gates(openings: np.ndarray, arm: str = "llm-gated") -> pd.DataFrame:
    """Table of runs with these openings (seeds, epochs)."""
    found = []
    for seed, of_run in enumerate(openings):
        for epoch, opening in enumerate(of_run):
            for checkpoint in ("", "best", "last") if epoch == len(of_run) - 1 else ("",):
                found.append(
                    {"run": f"{arm}-{seed}", "dataset": "discs", "arm": arm, "seed": seed,
                     "checkpoint": checkpoint, "epoch": epoch, "layer": "", "gate": opening,
                     "opening": abs(opening), "layers": "15", "learned": ""}
                )  # fmt: skip
    return pd.DataFrame(found).reindex(columns=list(MIXTURE.columns))


def convex(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).gamma(5, size=shape)
    return drawn / drawn.sum(-1, keepdims=True)


def test_spread_and_depth_are_closed_forms() -> None:
    assert spread({"5": 1.0, "7": 0.0}, 10) == {"effective_layers": 1.0, "depth": 0.5}
    even = spread(dict.fromkeys(map(str, LAYERS), 0.25), 30)
    assert even["effective_layers"] == pytest.approx(4)
    assert even["depth"] == pytest.approx(sum(LAYERS) / 4 / 30)


def test_means_and_intervals_are_those_of_scipy() -> None:
    from scipy import stats

    weights = convex((5, 3, 4))
    found = derived({MIXTURE.name: rows(weights)})[SEEDS.name]
    of_layer = found[(found["layer"] == "9") & (found["checkpoint"] == "")].set_index("epoch")
    values = weights[:, 1, 1]
    low, high = stats.t.interval(0.95, 4, values.mean(), stats.sem(values))
    row = of_layer.loc[1]
    assert (row["mean"], row["ci_low"], row["ci_high"]) == pytest.approx((values.mean(), low, high))
    stored = found[(found["layer"] == "9") & (found["checkpoint"] == "best")]
    assert stored["mean"].tolist() == pytest.approx([weights[:, -1, 1].mean()])
    conform(found, SEEDS)


def test_seeds_that_agree_are_told_from_seeds_that_cannot() -> None:
    shared = np.array([0.5, 0.3, 0.15, 0.05])
    noise = np.random.default_rng(0).normal(0, 0.01, (6, 1, 4))
    alike = derived({MIXTURE.name: rows(shared + noise)})[AGREEMENT.name].iloc[0]
    assert alike["correlation"] > 0.95 > alike["null_high"]
    assert alike["p"] == pytest.approx(1 / 2000)
    # Layers that seeds do not share: the p-values are those of chance.
    chance = [
        derived({MIXTURE.name: rows(convex((4, 1, 4), seed))})[AGREEMENT.name]["p"].iloc[0]
        for seed in range(40)
    ]
    assert 0.3 < np.mean(chance) < 0.7
    assert np.mean(np.array(chance) < 0.05) < 0.2


def test_the_mean_correlation_is_that_of_pandas() -> None:
    weights = convex((5, 6))
    of_pairs = pd.DataFrame(weights.T).corr().to_numpy()[np.triu_indices(5, 1)]
    assert mean_correlation(weights) == pytest.approx(of_pairs.mean())


@pytest.mark.parametrize("weights", [np.full((3, 1, 4), 0.25), convex((1, 1, 4))])
def test_where_no_agreement_can_be_seen_there_is_none(weights: np.ndarray) -> None:
    row = derived({MIXTURE.name: rows(weights)})[AGREEMENT.name].iloc[0]
    assert math.isnan(row["correlation"])
    assert row["n_seeds"] == len(weights)


def test_mixtures_of_one_arm_are_told_apart() -> None:
    weights = convex((2, 1, 4))
    other = rows(weights, layers="1+2+3+4").assign(run=lambda table: table["run"] + "-b")
    uniform = rows(weights, learned="no").assign(run=lambda table: table["run"] + "-c")
    found = by_mixture(pd.concat([rows(weights), other, uniform, gates(np.zeros((2, 1)))]))
    assert set(found["arm"]) == {
        "llm-mix[mixture=3+9+15+21]",
        "llm-mix[mixture=1+2+3+4]",
        "llm-mix[mix_weights=uniform,mixture=3+9+15+21]",
        "llm-gated",
    }


@pytest.mark.parametrize("seeds", [1, 4])
def test_figures_have_blank_edges_and_no_text_on_another(seeds: int, tmp_path: Path) -> None:
    both = [rows(convex((seeds, 5, 4), number), arm) for number, arm in enumerate(
        ("llm-mix", "random-mix"))]  # fmt: skip
    openings = np.cumsum(np.full((seeds, 5), 0.02), 1)
    table = pd.concat([*both, gates(openings), gates(-openings / 2, "random-gated")])
    means = derived({MIXTURE.name: table})[SEEDS.name]
    for drawn in (epochs_figure, stored_figure):
        figure = drawn(by_mixture(table), means)
        assert edges_with_ink(figure, tmp_path) == []
        assert texts_on_one_another(figure) == []
    titles = [axes.get_title(loc="left") for axes in epochs_figure(table, means).axes]
    assert titles[:3] == ["LLM, mixed", "Random, mixed", "Gates"]


class _Run:
    """What the table needs of a run."""

    name, dataset, arm, seed = "r", "discs", "llm-mix", 0

    def __init__(self, config: Config) -> None:
        self.config = config
        self.arm = config.arm
        self.network = build_network(config).eval()


def test_what_a_gate_adds_is_its_share_of_the_booster(tiny_config: Config, some_batches) -> None:
    run = _Run(tiny_config.model_copy(update={"arm": "llm-gated"}))
    booster = run.network.encoder5.booster
    closed = mixture_table(run, some_batches, 0)
    assert closed["added"].tolist() == [0.0]
    with torch.no_grad():
        booster.gate.raw.fill_(0.5)
        seen: list[torch.Tensor] = []
        hook = booster.register_forward_hook(
            lambda module, inputs, out: seen.extend((inputs[0], out))
        )
        run.network(some_batches[0].images)
        hook.remove()
    opened = mixture_table(run, some_batches[:1], 0).iloc[0]
    sizes = (seen[1] - seen[0]).flatten(1).norm(dim=1) / seen[0].flatten(1).norm(dim=1)
    assert opened["added"] == pytest.approx(sizes.mean().item(), rel=1e-4)
    assert opened["gate"] == pytest.approx(math.tanh(0.5))


def test_what_a_mixture_adds_is_that_of_its_layers(tiny_config: Config, some_batches) -> None:
    run = _Run(tiny_config.model_copy(update={"arm": "llm-mix"}))
    found = mixture_table(run, some_batches, 4).set_index("layer")
    assert list(found.index) == ["1", "2", "3", "4", ""]
    assert set(found["epoch"]) == {4}
    # Vectors of which each is a quarter of one layer's change: their sum is no longer than they.
    assert 0 < found.loc["", "added"] <= found.loc[["1", "2", "3", "4"], "added"].sum()
    assert found.loc["", "effective_layers"] == pytest.approx(4)
    assert set(found["learned"]) == {"yes"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_config: Config) -> dict[str, Path]:
    """Runs of two epochs by arm and seed, the gates at a rate at which they move."""
    folder = tmp_path_factory.mktemp("mixtures")
    optimiser = tiny_config.training.optimiser.model_copy(update={"gates_lr": 0.3})
    training = tiny_config.training.model_copy(update={"optimiser": optimiser, "average": 0.9})
    data = tiny_config.data.model_copy(update={"image_size": (64, 64)})  # whole foreground tokens
    made = {}
    for arm, seed in (("llm-mix", 0), ("llm-mix", 1), ("llm-gated", 0), ("cnn", 0)):
        config = tiny_config.model_copy(
            update={"arm": arm, "seed": seed, "training": training, "data": data}
        )
        made[f"{arm}-{seed}"] = train(config, folder / f"{arm}-{seed}")
    return made


def checkpoint(path: Path) -> Path:
    return path if path.name == "run.pt" else path / "run.pt"


def test_a_run_records_what_it_stores(finished: dict[str, Path]) -> None:
    for name, what in (("llm-mix-0", "weight"), ("llm-gated-0", "gate")):
        path = checkpoint(finished[name])
        table = read_table(path.parent / "gates.csv", GATES)
        assert sorted(set(table["epoch"])) == [0, 1]
        run = load(path)
        booster = run.network.encoder5.booster
        known = table[table["epoch"] == run.epoch][what].to_numpy()
        own = booster.mixing.weights if what == "weight" else booster.gate.opening[None]
        assert known == pytest.approx(own.detach().numpy(), rel=1e-5)
        if what == "weight":
            assert table.groupby("epoch")["weight"].sum().tolist() == pytest.approx([1, 1])
        assert abs(known - (0.25 if what == "weight" else 0)).max() > 1e-3  # it moved
    assert not (checkpoint(finished["cnn-0"]).parent / "gates.csv").exists()


def test_runs_from_python_to_the_figure(finished: dict[str, Path], tmp_path: Path) -> None:
    paths = [str(checkpoint(path)) for path in finished.values()]
    found = lp.mixture(paths)
    assert set(found.table["arm"]) == {"llm-mix", "llm-gated"}  # cnn has nothing of it
    assert set(found.table["checkpoint"]) == {"", "best", "last"}
    assert list(found.summary["arm"]) == ["llm-mix", "llm-mix", "llm-gated"]
    assert any("the gate stands at" in sentence for sentence in found.sentences)
    saved = {path.name for path in found.save(tmp_path)}
    assert {MIXTURE.name, SEEDS.name, AGREEMENT.name} <= saved
    assert {"mixture-epochs.svg", "mixture-stored.svg"} <= saved


def test_a_run_alone_has_the_stored_moment(finished: dict[str, Path], tmp_path: Path) -> None:
    alone = shutil.copy(checkpoint(finished["llm-mix-0"]), tmp_path / "run.pt")
    found = lp.mixture(str(alone))
    assert set(found.table["checkpoint"]) == {"best"}
    assert list(found.result.figures()) == ["mixture-stored"]
    other = checkpoint(finished["llm-mix-1"]).parent / "gates.csv"
    shutil.copy(other, tmp_path / "gates.csv")
    with pytest.raises(CheckpointError, match=r"gates.csv is of another training than") as refused:
        lp.mixture(str(alone))
    assert "\n" not in str(refused.value)


def test_arms_without_a_mixture_are_refused(finished: dict[str, Path]) -> None:
    with pytest.raises(SiteError, match="arm 'cnn' has no mixture of layers and no gate"):
        lp.mixture(str(checkpoint(finished["cnn-0"])))


@pytest.mark.parametrize("name", ["llm-mix-0", "llm-gated-0"])
def test_a_stored_run_gives_the_same_logits_anywhere(
    name: str, finished: dict[str, Path], tmp_path: Path, some_batches
) -> None:
    path = checkpoint(finished[name])
    first = load(path).network
    again = load(shutil.copy(path, tmp_path / "run.pt")).network
    with torch.no_grad():
        assert torch.equal(first(some_batches[0].images), again(some_batches[0].images))
    other = load(checkpoint(finished["llm-mix-1"])).network
    assert not torch.equal(first(some_batches[0].images), other(some_batches[0].images))


def test_other_probes_take_these_arms(finished: dict[str, Path]) -> None:
    for name in ("llm-mix-0", "llm-gated-0"):
        path = str(checkpoint(finished[name]))
        sites = ("before", "tokens", "layer", "after")
        assert set(lp.rank(path, sites=sites).table["site"]) == set(sites)
        heads = lp.attention(path).table
        assert set(heads["layer"]) == ({1, 2, 3, 4} if name == "llm-mix-0" else {3})
        only = ("bypass", "attention-off", "mask", "random-weights", "shuffled-weights")
        changed = lp.intervene(path, only=only).table
        assert set(changed["intervention"]) == {"none", *only}
