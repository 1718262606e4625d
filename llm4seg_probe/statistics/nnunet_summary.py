"""Read nnU-Net's summary.json files, of the first and second version, from its folders.

The folders above a file tell its data set (``Dataset004_Hippocampus``), fold (``fold_0``) and seed
(``seed_3``, or a trainer that ends in ``_s3``); what else differs between the paths is the arm.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from llm4seg_probe.errors import TableError
from llm4seg_probe.reading.text import read_json
from llm4seg_probe.score_names import known

METRICS = ("dice", "iou", "jaccard", "precision", "recall", "hausdorff_distance_95")
_COUNTS = frozenset(
    ("fp", "fn", "tp", "tn", "n_pred", "n_ref", "total_positives_test",
     "total_positives_reference")
)  # fmt: skip
"""Numbers of voxels that nnU-Net writes beside the scores."""
_DATASET = re.compile(r"(Dataset|Task)\d{3}_.+")
_FOLD = re.compile(r"(?:fold|cv|split|f)[_=-]?(\d+|all)", re.IGNORECASE)
_ARM_FOLD = re.compile(r"(?P<arm>.+?)[_.-]fold[_=-]?(?P<fold>\d+)", re.IGNORECASE)
_GATHERED = re.compile(r"crossval_results.*|cv_niftis.*", re.IGNORECASE)
"""Folders in which nnU-Net gathers the cases of all folds."""
_SEED = re.compile(
    r"(?:(?:random_?)?(?:seed|run|rep|repeat|repetition|trial|s)[_=-]?)(\d+)", re.IGNORECASE
)
_TRAINER_SEED = re.compile(
    r"(?P<arm>.+?)[_.-](?:s|seed|run|rep)[_=-]?(?P<seed>\d+)(?P<rest>__.+)?", re.IGNORECASE
)
_SUFFIX = re.compile(
    r"(\.nii\.gz|\.nii|\.mha|\.mhd|\.nrrd|\.nhdr|\.hdr|\.img|\.b2nd|\.npz|\.npy|\.tiff?|\.png|\.jpe?g"
    r"|\.bmp|\.gif|\.dcm)$",
    re.IGNORECASE,
)  # fmt: skip


def read(files: Sequence[Path]) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Read summaries as one table: ``dataset, arm, seed, fold, image, class`` and the scores.

    Columns that no file tells are left out. Raises TableError for a file that is no summary.
    """
    files, notes = _without_sums_of_folds(files)
    files, of_all = _without_fold_all(files)
    notes += of_all
    places = _places(files)
    of_none = [file for file, place in zip(files, places, strict=True) if place["fold"] is None]
    if 0 < len(of_none) < len(files):
        raise TableError(
            f"{of_none[0]} is of no fold, and {len(files) - len(of_none)} other summaries are: "
            "compare folds with folds, and what is scored on one set with what is scored on it"
        )
    rows = [
        {**place, **scores}
        for file, place in zip(files, places, strict=True)
        for scores in _cases(file)
    ]
    if not rows:
        raise TableError(f"{files[0]} holds no case: metric_per_case is empty")
    table = pd.DataFrame(rows)
    kept = [name for name in table.columns if name == "class" or not table[name].isna().all()]
    seeds = [place["seed"] for place in places if place["seed"] is not None]
    notes += _not_read(files)
    if seeds:
        notes.append(f"seeds are read from the names of folders, such as seed {seeds[0]}")
    return table[kept], tuple(notes)


def _is_score(name: str) -> bool:
    return name.lower().replace(" ", "_") in METRICS or known(name) is not None


def _not_read(files: Sequence[Path]) -> list[str]:
    """A note that names what stands beside the scores in the first file, and is no count."""
    content = read_json(files[0], TableError)
    if "metric_per_case" in content:
        of_labels = [own for case in content["metric_per_case"] for own in case["metrics"].values()]
    else:
        of_labels = [own for case in content["results"]["all"] for own in case.values()]
    names = {name for own in of_labels if isinstance(own, dict) for name in own}
    others = sorted(
        name for name in names
        if not _is_score(name) and name.lower().replace(" ", "_") not in _COUNTS
    )  # fmt: skip
    return [f"not read: {', '.join(others[:8])}, which are no known scores"] if others else []


def _without_sums_of_folds(files: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """The files without those that nnU-Net gathers from folds which are given too."""
    gathered = [file for file in files if any(map(_GATHERED.fullmatch, file.parts))]
    folds = {
        file.parts[:depth]
        for file in files
        for depth, part in enumerate(file.parts)
        if _FOLD.fullmatch(part)
    }
    doubled = [file for file in gathered if any(file.parts[: len(own)] == own for own in folds)]
    if not doubled:
        return list(files), []
    told = (
        f"{len(doubled)} summaries are of folds that are given too, gathered ({doubled[0]}): left "
        "out, since their cases would count twice"
    )
    return [file for file in files if file not in doubled], [told]


def _without_fold_all(files: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """The files without those of ``fold_all`` beside numbered folds: it trains on every case."""
    numbered = {
        (file.parts[:depth], file.parts[depth + 1 :])
        for file in files
        for depth, part in enumerate(file.parts)
        if (match := _FOLD.fullmatch(part)) and match[1].isdigit()
    }
    of_all = [
        file
        for file in files
        for depth, part in enumerate(file.parts)
        if (match := _FOLD.fullmatch(part))
        and not match[1].isdigit()
        and (file.parts[:depth], file.parts[depth + 1 :]) in numbered
    ]
    if not of_all:
        alone = [file for file in files if "fold_all/validation" in file.as_posix()]
        return list(files), [f"{alone[0]} is scored on cases of its training"] if alone else []
    told = (
        f"{len(of_all)} summaries are of networks that were trained on all cases, those that they "
        f"are scored on too ({of_all[0]}): left out beside the folds"
    )
    return [file for file in files if file not in of_all], [told]


def case_name(file: str) -> str:
    """The name of a case: the file's without its format, whatever dots the name has.

    >>> case_name("/gt/BraTS.GLI.00001.nii.gz"), case_name("C:\\\\gt\\\\a.png")
    ('BraTS.GLI.00001', 'a')
    """
    return without_ending(re.split(r"[/\\]", str(file))[-1])


def without_ending(file: str) -> str:
    """The path or name of a file without its format.

    >>> without_ending("siteA/001.nii.gz")
    'siteA/001'
    """
    return _SUFFIX.sub("", str(file))


def _cases(file: Path) -> list[dict[str, Any]]:
    """One row per case and label: of metric_per_case, or of results.all in the first version."""
    try:
        content = read_json(file, TableError)
        if "metric_per_case" in content:
            return [
                _row(case.get("reference_file") or case["prediction_file"], label, metrics)
                for case in content["metric_per_case"]
                for label, metrics in case["metrics"].items()
            ]
        return [
            _row(case["reference"], label, metrics)
            for case in content["results"]["all"]
            for label, metrics in case.items()
            if isinstance(metrics, dict) and label != "0"
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TableError(
            f"{file} is not nnU-Net's summary.json: metric_per_case (or results.all) is expected; "
            "records of another kind are read as CSV (pandas.read_json(…).to_csv(…))"
        ) from error


def _row(reference: str, label: str, metrics: dict[str, Any]) -> dict[str, Any]:
    scores = {
        name.lower().replace(" ", "_"): float("nan") if value in (None, "NaN") else float(value)
        for name, value in metrics.items()
        if _is_score(name)
    }
    return {"image": case_name(reference), "class": label, **scores}


def _places(files: Sequence[Path]) -> list[dict[str, Any]]:
    """Data set, arm, seed and fold of each file, from its folders."""
    trails = [
        [*file.resolve().parts[:-1], *([] if file.stem == "summary" else [file.stem])]
        for file in files
    ]
    numbered = _numbered(trails)
    places: list[dict[str, Any]] = []
    arms: list[list[str]] = []
    trainers = _trainers_with_seeds(trails)
    for trail in trails:
        place: dict[str, Any] = {"dataset": None, "arm": "", "seed": None, "fold": None}
        rest = []
        for depth, part in enumerate(trail):
            fold, seed = _FOLD.fullmatch(part), _SEED.fullmatch(part)
            trainer, of_arm = _TRAINER_SEED.fullmatch(part), _ARM_FOLD.fullmatch(part)
            if _DATASET.fullmatch(part):
                place["dataset"] = part
            elif fold and fold[1].isdigit():
                place["fold"] = int(fold[1])
            elif of_arm and place["fold"] is None:
                place["fold"] = int(of_arm["fold"])
                rest.append(of_arm["arm"])
            elif place["seed"] is None and (seed or depth in numbered):
                place["seed"] = int(seed[1] if seed else part)
            elif trainer and part in trainers:
                place["seed"] = int(trainer["seed"])
                rest.append(trainer["arm"] + (trainer["rest"] or ""))
            else:
                rest.append(part)
        places.append(place)
        arms.append(rest)
    for place, arm in zip(places, _differing(arms), strict=True):
        place["arm"] = arm
    return places


def _numbered(trails: list[list[str]]) -> set[int]:
    """Depths at which the folders of all paths are numbers, and several: seeds, by their place."""
    found = set()
    for depth in range(min(map(len, trails))):
        parts = {trail[depth] for trail in trails}
        if len(parts) > 1 and all(re.fullmatch(r"\d{1,6}", part) for part in parts):
            found.add(depth)
    return found


def _trainers_with_seeds(trails: list[list[str]]) -> set[str]:
    """Folders such as ``nnUNetTrainer_LLM4Seg_llm_s3``: nnU-Net's, and any with many seeds."""
    ends: dict[str, set[str]] = {}
    for part in {part for trail in trails for part in trail}:
        match = _TRAINER_SEED.fullmatch(part)
        if match:
            ends.setdefault(match["arm"] + (match["rest"] or ""), set()).add(part)
    return {
        part
        for arm, parts in ends.items()
        for part in parts
        if len(parts) > 1 or arm.startswith("nnUNetTrainer")
    }


def _differing(trails: list[list[str]]) -> list[str]:
    """What tells the paths apart: the folders that differ, joined by ``/``."""
    depth = max(map(len, trails))
    padded = [trail + [""] * (depth - len(trail)) for trail in trails]
    differing = [index for index in range(depth) if len({trail[index] for trail in padded}) > 1]
    if not differing:
        return [trails[0][-1] if trails[0] else ""] * len(trails)
    return ["/".join(trail[index] for index in differing if trail[index]) for trail in padded]
