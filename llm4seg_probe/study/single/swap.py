"""The causal swap between two arms: activations of each put into the other, seed by seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from llm4seg_probe import progress, tables
from llm4seg_probe.errors import CheckpointError, DataError
from llm4seg_probe.study.single.effects import effects, say_notes
from llm4seg_probe.study.single.images import RunImages
from llm4seg_probe.study.single.result import ProbeResult, written

if TYPE_CHECKING:
    from llm4seg_probe.training.run import Run

_BASE = ("", "")


def swap_runs(
    checkpoints: Sequence[Path],
    out: Path,
    *,
    split: str = "test",
    data: Path | None = None,
    heads: bool = False,
) -> ProbeResult:
    """Swap activations between two arms, both ways: ``swap.csv``, effects and figure.

    The checkpoints are of two arms, each seed in both. Maps are fitted on the training images of
    the runs' own split. Beside the other arm's activations go another seed's of the same arm (the
    next one) and the mean activation.

    Raises CheckpointError for other than two arms, or seeds without a partner; DataError where
    the two were not trained on the same images, or do not say on which.
    """
    from llm4seg_probe.reporting.figures import swap
    from llm4seg_probe.reporting.report import FIGURES
    from llm4seg_probe.reporting.saving import save_figure

    paths = by_arm_and_seed(checkpoints)
    parts = [
        _received(*turn, split=split, data=data, heads=heads)
        for turn in progress.track(list(_turns(paths)), "Swaps")
    ]
    table, target = written(pd.concat(parts, ignore_index=True), out, tables.SWAP)
    found, source = written(swap_effects(table), out, tables.SWAP_EFFECTS)
    say_notes(found)
    saved = save_figure(swap.figure(found), out / FIGURES, "swap", source)
    shown = ["arm", "site", "donor", "n_seeds", "mean", "change", "ci_low", "ci_high", "gap"]
    summary = found.loc[found["score"] == "iou", [*shown, "gap_share", "explained"]]
    return ProbeResult(table, summary, target, tuple(saved.values()))


def by_arm_and_seed(checkpoints: Sequence[Path]) -> dict[str, dict[int, Path]]:
    """Checkpoints of two arms by arm and seed.

    Raises CheckpointError where they are not that, DataError for one without training images.
    """
    from llm4seg_probe.training import checkpoint

    found: dict[str, dict[int, Path]] = {}
    for path in checkpoints:
        content = checkpoint.read_run(path)
        if not content["split"]["train"]:
            raise DataError(
                f"{path} was converted from a checkpoint that does not say which images it was "
                "trained on: the map between two networks is fitted on those, so --swap takes "
                "runs that were trained here"
            )
        config = content["config"]
        seeds = found.setdefault(config["arm"], {})
        if config["seed"] in seeds:
            raise CheckpointError(
                f"{path} and {seeds[config['seed']]} are both arm {config['arm']}, seed "
                f"{config['seed']}: --swap pairs runs by seed, give one of them"
            )
        seeds[config["seed"]] = path
    if len(found) != 2:
        raise CheckpointError(
            f"--swap exchanges activations between two arms, but the checkpoints are of "
            f"{len(found)} ({', '.join(found)}): give the runs of two, with the same seeds"
        )
    (a, of_a), (b, of_b) = found.items()
    alone = {a: set(of_a) - set(of_b), b: set(of_b) - set(of_a)}
    if any(alone.values()):
        told = "; ".join(f"{arm} {sorted(seeds)}" for arm, seeds in alone.items() if seeds)
        raise CheckpointError(
            f"--swap pairs the arms by seed, but these seeds are in one alone: {told}. Give their "
            "partners, or leave them out"
        )
    return found


def _turns(paths: dict[str, dict[int, Path]]) -> Iterator[tuple[Path, Path, Path | None]]:
    """Receiver, the same seed of the other arm, and the next seed of its own (None: no other)."""
    for arm, seeds in paths.items():
        (other,) = (name for name in paths if name != arm)
        ordered = sorted(seeds)
        for seed, following in zip(ordered, ordered[1:] + ordered[:1], strict=True):
            yield seeds[seed], paths[other][seed], None if following == seed else seeds[following]


def _received(
    path: Path,
    other_arm: Path,
    other_seed: Path | None,
    *,
    split: str,
    data: Path | None,
    heads: bool,
) -> pd.DataFrame:
    from llm4seg_probe.probing.swap import OTHER_ARM, OTHER_SEED, Exchange, fit, swap_table
    from llm4seg_probe.training.compute import computing
    from llm4seg_probe.training.run import load

    run = load(path)
    donors = {OTHER_ARM: load(other_arm)}
    if other_seed is None:
        progress.say(f"{run.name}: left out another seed of its arm: no other was given")
    else:
        donors[OTHER_SEED] = load(other_seed)
    for donor in donors.values():
        _require_same_images(run, donor)
    exchange = Exchange.between(run, donors, heads=heads)
    with computing(run.config.compute):
        fitted = fit(exchange, RunImages(run, "train"))
        found = swap_table(exchange, fitted, RunImages(run, split, data), run.collection(data))
    return found.assign(dataset=run.collection(data).name)


def _require_same_images(run: Run, donor: Run) -> None:
    if run.split != donor.split or run.config.data != donor.config.data:
        raise DataError(
            f"{run.name} and {donor.name} were not trained on the same images in the same way "
            "(data and split): activations are swapped on the same images only"
        )


def swap_effects(table: pd.DataFrame) -> pd.DataFrame:
    """``swap-effects.csv``: mean changes with intervals, and their share of the gap.

    The gap is the other arm's score minus the receiver's. ``gap_low`` and ``gap_high`` span all
    of its intervals that there are: over seeds, over groups, over both. ``gap_share`` is change
    over gap, empty unless that span excludes zero.
    """
    found = effects(table, ["site", "donor"], _BASE)
    plain = table[(table["site"] == _BASE[0]) & (table["donor"] == _BASE[1])]
    gaps = pd.concat([_gaps(plain, arm) for arm in plain["arm"].unique()])
    found = found.merge(gaps, on=["dataset", "arm", "score"], validate="many_to_one")
    is_there = (found["gap_low"] > 0) | (found["gap_high"] < 0)
    found["gap_share"] = (found["change"] / found["gap"]).where(is_there)
    keys = ["dataset", "arm", "site", "donor"]
    shares = table[table["donor"] != ""].groupby(keys)["explained"].mean().reset_index()
    return found.merge(shares, on=keys, how="left", validate="many_to_one")


def _gaps(plain: pd.DataFrame, arm: str) -> pd.DataFrame:
    """By score, how far the other arm is above one, as that arm's own condition."""
    role = np.where(plain["arm"] == arm, "receiver", "other")
    found = effects(plain.assign(arm=arm, role=role), ["role"], ["receiver"])
    return pd.DataFrame(
        {
            "dataset": found["dataset"],
            "arm": arm,
            "score": found["score"],
            "gap": found["change"],
            "gap_low": found[["ci_low", "boot_low", "case_low"]].min(axis=1),
            "gap_high": found[["ci_high", "boot_high", "case_high"]].max(axis=1),
        }
    )
