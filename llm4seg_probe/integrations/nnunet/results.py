"""Gather nnU-Net's results of arms, seeds and folds in one tidy table, and compare them.

Read are the ``validation/summary.json`` of each fold: scores of the cases that the fold left out
of training. What is not read is named, with the reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from llm4seg_probe.arms import ARMS
from llm4seg_probe.errors import ConfigError, TableError
from llm4seg_probe.integrations.nnunet.names import folder_name, is_ours, trainer_name
from llm4seg_probe.models.nnunet_plans import KEY, read_json
from llm4seg_probe.reading.text import read_json_object
from llm4seg_probe.storage import atomically

if TYPE_CHECKING:
    pass

COLUMNS = (
    "dataset", "trainer", "plans", "configuration", "arm", "seed", "fold", "image", "class",
    "dice", "iou",
)  # fmt: skip
"""Columns of the table; ``trainer`` is the one on top of which arm and seed stand."""
SUMMARY = Path("validation") / "summary.json"


@dataclass(frozen=True)
class Collected:
    """Hold a table of results, what was left out of it, and what is in it, in sentences.

    ``layers`` says by data set and plans which layer they name, ``networks`` what else they say
    of a configuration: arms can be compared where the latter is the same.
    """

    table: pd.DataFrame
    left_out: tuple[str, ...]
    layers: Mapping[tuple[str, str], str]
    networks: Mapping[tuple[str, str, str], str]

    @property
    def sentences(self) -> tuple[str, ...]:
        """Say what was read, one line for each data set, plans and configuration."""
        found = []
        for keys, rows in self.table.groupby(["dataset", "plans", "configuration"], sort=False):
            parts = [
                f"{name}s {', '.join(map(str, sorted(rows[name].unique())))}"
                for name in ("arm", "seed", "fold")
            ]
            found.append(
                f"{', '.join(map(str, keys))}: {'; '.join(parts)}; {rows['image'].nunique()} cases"
            )
        return tuple(found)


def collect(folders: Sequence[Path], folds: Sequence[str] | None = None) -> Collected:
    """Gather the scores under one or more folders of nnU-Net's results.

    A folder is that of a data set, of one trainer in it, or of all data sets. Raises TableError
    where there is nothing to read, or fewer folds than were asked for.
    """
    rows: list[dict[str, Any]] = []
    left_out: list[str] = []
    layers: dict[tuple[str, str], str] = {}
    networks: dict[tuple[str, str, str], str] = {}
    for place in _trainer_folders(folders):
        named = folder_name(place.name)
        assert named is not None
        trainer, plans, configuration = named
        if not is_ours(trainer):
            left_out.append(f"Left out: {place.name}, as its name says neither arm nor seed.")
            continue
        try:
            name = trainer_name(trainer)
        except ConfigError as error:
            left_out.append(f"Left out: {place.name} ({error}).")
            continue
        found, missing = _folds_of(place, folds)
        left_out += missing
        if not found:
            continue
        said = read_json(place / "plans.json", "nnU-Net writes it when a training begins")
        dataset = place.resolve().parent.name
        layers[dataset, plans] = _layer_of(said)
        networks[dataset, plans, configuration] = _network_of(said, configuration)
        classes = _classes(place)
        keys = {"dataset": dataset, "trainer": name.base, "plans": plans}
        for fold in found:
            rows += [
                keys | {"configuration": configuration, "arm": name.arm, "seed": name.seed} | row
                for row in _scores(place / f"fold_{fold}" / SUMMARY, fold, classes)
            ]
    if not rows:
        raise TableError(_nothing(folders, left_out))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return Collected(table, tuple(left_out), layers, networks)


def write(table: pd.DataFrame, path: Path) -> None:
    """Write the table as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomically(path) as partial:
        table.to_csv(partial, index=False, lineterminator="\n")


def compared(
    found: Collected,
    *,
    baseline: str = "cnn",
    score: str = "dice",
    margin: float = 0.005,
    where: Mapping[str, object] | None = None,
    bootstrap: int = 10_000,
) -> tuple[pd.DataFrame, list[str]]:
    """Compare the arms, each seed's cross-validation as one replicate; and what that means.

    Raises TableError where runs were not made alike: other folds, other cases in a fold, other
    plans than the layer's, or several layers under one arm.
    """
    from llm4seg_probe.statistics.compare import compare
    from llm4seg_probe.statistics.rows import rows_where

    rows = rows_where(found.table, dict(where or {}))
    for _, own in rows.groupby("dataset"):
        _check_plans(own, found)
        _check_folds(own)
    options: dict[str, Any] = {
        "score": score, "baseline": baseline, "margin": margin, "bootstrap": bootstrap,
    }  # fmt: skip
    averaged = ("fold", "class")
    result = compare(rows, average_over=averaged, **options)
    return result, _meaning(rows, options)


def _meaning(rows: pd.DataFrame, options: Mapping[str, Any]) -> list[str]:
    from llm4seg_probe.statistics.compare import compare

    seeds, folds = rows["seed"].nunique(), rows["fold"].nunique()
    each = "cross-validation" if folds > 1 else "run"
    said = [
        f"{seeds} seed{'s' * (seeds > 1)} with {folds} fold{'s' * (folds > 1)} each: every seed's "
        f"{each} counts once, as another training run on these splits."
    ]
    if folds > 1:
        said.append("Folds share their training cases, so they are not counted as runs.")
    if seeds > 1 or folds < 2:
        if seeds == 1:
            said.append(
                "One seed is one draw of the training's noise: it cannot show a difference."
            )
        return said
    said.append(
        "One seed is one draw of the training's noise: another training of both arms may come "
        "out the other way, and nothing here says how likely that is."
    )
    over = compare(rows, fold="fold", test_share=1 / folds, average_over=("class",), **options)
    for _, row in over.iterrows():
        said.append(
            f"Over the {folds} folds of it, {row['a']} − {row['b']} is {row['difference']:+.4f} "
            f"({row['ci_low']:+.4f} to {row['ci_high']:+.4f}, p {row['p_t']:.2g}, corrected "
            "resampled t-test: other cases, the same draw)."
        )
    return said


def _check_plans(rows: pd.DataFrame, found: Collected) -> None:
    keys = rows[["dataset", "plans", "configuration"]].drop_duplicates()
    kinds = {found.networks[key]: key[1:] for key in keys.itertuples(index=False, name=None)}
    if len(kinds) > 1:
        named = " and ".join(" ".join(pair) for pair in list(kinds.values())[:2])
        raise TableError(
            f"these are results of different networks or preprocessing ({named}): choose one with "
            "--where plans=… or --where configuration=…"
        )
    trainers = sorted(rows["trainer"].unique())
    if len(trainers) > 1:
        raise TableError(
            f"arms stand on top of several trainers ({', '.join(trainers)}): choose one with "
            "--where trainer=…"
        )
    for arm, own in rows.groupby("arm"):
        if ARMS[str(arm)].middle == "nothing":
            continue
        pairs = own[["dataset", "plans"]].drop_duplicates().itertuples(index=False, name=None)
        layers = {found.layers[pair]: pair[1] for pair in pairs}
        if len(layers) > 1:
            raise TableError(
                f"arm {arm} was trained with several layers, by the plans "
                f"{', '.join(layers.values())}: choose one with --where plans=…"
            )


def _check_folds(rows: pd.DataFrame) -> None:
    runs = {
        (str(arm), seed): {
            str(fold): frozenset(part["image"]) for fold, part in own.groupby("fold")
        }
        for (arm, seed), own in rows.groupby(["arm", "seed"])
    }
    all_folds = sorted({fold for folds in runs.values() for fold in folds})
    common = [fold for fold in all_folds if all(fold in folds for folds in runs.values())]
    lacking = [
        f"{arm} of seed {seed} lacks {', '.join(sorted(set(all_folds) - set(folds)))}"
        for (arm, seed), folds in runs.items()
        if len(folds) < len(all_folds)
    ]
    if lacking:
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        choice = f", or compare those that all have: --folds {','.join(common)}" if common else ""
        raise TableError(
            f"not all runs have the same folds: {'; '.join(lacking[:3])}{more}. Train them{choice}"
        )
    for fold in all_folds:
        cases = {folds[fold]: run for run, folds in runs.items()}
        if len(cases) > 1:
            one, other = list(cases.values())[:2]
            raise TableError(
                f"fold {fold} of {one[0]} seed {one[1]} was validated on other cases than that of "
                f"{other[0]} seed {other[1]}: splits_final.json was changed between them"
            )


def _trainer_folders(folders: Sequence[Path]) -> Iterator[Path]:
    for folder in folders:
        if not folder.is_dir():
            raise TableError(f"no such folder: {folder}")
        if folder_name(folder.name):
            yield folder
            continue
        inside = sorted(path for path in folder.iterdir() if path.is_dir())
        sets = [path for path in inside if path.name.startswith("Dataset")]
        for place in (one for each in sets for one in sorted(each.iterdir())) if sets else inside:
            if place.is_dir() and folder_name(place.name):
                yield place


def _folds_of(place: Path, wanted: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """List the folds with scores, and a sentence for each that is left out."""
    there = sorted(path.name.removeprefix("fold_") for path in place.glob("fold_*"))
    found, left_out = [], []
    for fold in there:
        if wanted is not None and fold not in wanted:
            continue
        if fold == "all":
            left_out.append(
                f"Left out: {place.name}, fold_all, whose validation cases were trained on."
            )
        elif not (place / f"fold_{fold}" / SUMMARY).is_file():
            left_out.append(
                f"Left out: {place.name}, fold_{fold}, which has no {SUMMARY.as_posix()}: it was "
                "not trained to its end, or not validated (nnUNetv2_train … --val)."
            )
        else:
            found.append(fold)
    return found, left_out


def _scores(path: Path, fold: str, classes: Mapping[str, str]) -> list[dict[str, Any]]:
    content = read_json(path, "validate the fold again: nnUNetv2_train … --val")
    rows = []
    try:
        for case in content["metric_per_case"]:
            image = Path(case["prediction_file"].replace("\\", "/")).name.split(".")[0]
            for label, metrics in case["metrics"].items():
                rows.append(
                    {
                        "fold": int(fold),
                        "image": image,
                        "class": classes.get(_label(label), label),
                        "dice": _number(metrics["Dice"]),
                        "iou": _number(metrics["IoU"]),
                    }
                )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise TableError(f"{path}: is no summary of nnU-Net's (lacks {error})") from error
    return rows


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _classes(place: Path) -> dict[str, str]:
    """Name the labels, by what a summary calls them."""
    path = place / "dataset.json"
    if not path.is_file():
        return {}
    labels = read_json_object(path, TableError).get("labels", {})
    return {_label(str(value)): str(name) for name, value in labels.items()}


def _label(text: str) -> str:
    """Write a label or a region in one way: ``(1, 2)``, ``[1, 2]`` and ``1``.

    >>> _label("(1, 2)"), _label("[1,2]"), _label("1")
    ('1 2', '1 2', '1')
    """
    return " ".join(text.strip("()[] ").replace(",", " ").split())


def _layer_of(plans: Mapping[str, Any]) -> str:
    return json.dumps({**plans.get(KEY, {}), "store_layer": None}, sort_keys=True)


def _network_of(plans: Mapping[str, Any], configuration: str) -> str:
    """Keep all that the plans say but for their name and the layer."""
    entry = dict(plans.get("configurations", {}).get(configuration, {}))
    kept = {name: value for name, value in plans.items() if name not in _BESIDE}
    return json.dumps([kept, entry], sort_keys=True)


_BESIDE = (KEY, "plans_name", "configurations", "continue_training")


def _nothing(folders: Sequence[Path], left_out: Sequence[str]) -> str:
    reason = f" {' '.join(left_out[:3])}" if left_out else ""
    return (
        f"{', '.join(map(str, folders))}: no finished fold of a trainer named "
        f"BASE_LLM4Seg_ARM_sSEED.{reason}"
    )
