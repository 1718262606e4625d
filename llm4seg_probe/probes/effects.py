"""Scores of changed networks, and the paired changes of those scores."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor, nn

from llm4seg_probe import progress
from llm4seg_probe.config import Config
from llm4seg_probe.data.batches import Batch
from llm4seg_probe.data.collection import Collection
from llm4seg_probe.measures.segmentation import overlap_scores
from llm4seg_probe.models.heads import answers
from llm4seg_probe.statistics.compare import compare
from llm4seg_probe.training.compute import memory_format
from llm4seg_probe.training.inference import on_grid

Overlaps = dict[str, Tensor]


def masks_of(config: Config, collection: Collection, batch: Batch) -> list[Tensor]:
    """The boolean masks (K, *grid) that a batch is scored against.

    Those of the images as they are stored; where ``data.sampling`` is ``patches``, those of the
    patches.
    """
    if config.data.sampling == "patches":
        return list(batch.masks > 0.5)
    raw = (collection.read(collection.sample(name)) for name in batch.names)
    return [torch.from_numpy(image.mask) for image in raw]


def single_pass(network: nn.Module, images: Tensor, config: Config) -> Tensor:
    """Logits of one pass over images, or patches, as the network sees them; on the CPU.

    In the network's present mode and the configured memory format.
    """
    device = next((parameter.device for parameter in network.parameters()), images.device)
    return network(images.to(device, memory_format=memory_format(config))).float().cpu()


def overlaps(logits: Tensor, masks: Sequence[Tensor], config: Config) -> Overlaps:
    """``iou`` and ``dice`` of each image and class, (B, K), the logits resized to each mask."""
    found: list[Overlaps] = []
    for own, mask in zip(logits, masks, strict=True):
        resized = on_grid(own, mask.shape[1:])
        predicted, missing = answers(resized[None], config)
        scores = overlap_scores(predicted, mask[None])
        found.append({name: each.where(~missing, torch.nan) for name, each in scores.items()})
    return {score: torch.cat([each[score] for each in found]) for score in ("iou", "dice")}


SCORES = ("iou", "dice")
_TAKEN = {
    "n_seeds": "n_seeds",
    "n_cases": "n_cases",
    "n_groups": "n_groups",
    "mean": "mean_a",
    "change": "difference",
    "ci_low": "ci_low",
    "ci_high": "ci_high",
    "boot_low": "boot_low",
    "boot_high": "boot_high",
    "case_low": "case_low",
    "case_high": "case_high",
    "note": "note",
}


def effects(table: pd.DataFrame, condition: Sequence[str], baseline: Sequence[str]) -> pd.DataFrame:
    """One row per data set, arm, condition and score: the mean change against the baseline.

    ``condition`` are the columns that tell conditions apart, ``baseline`` their values where
    nothing was changed. Each change is paired by run and image, within an arm; classes are
    averaged. ``ci_*`` are over seeds (paired t), ``case_*`` over groups (from ten on), ``boot_*``
    over both; empty where there are too few, which ``note`` says.
    """
    names = list(condition)
    unchanged = (table[names] == list(baseline)).all(axis=1)
    # Plain names for the conditions of this table: a reader of tables may tidy what is written.
    conditions = list(table[["arm", *names]].itertuples(index=False, name=None))
    codes = {key: f"c{number}" for number, key in enumerate(dict.fromkeys(conditions))}
    whole = [codes[key] for key in conditions]
    frame = table[["dataset", "seed", "image", "group", "class", *SCORES]].assign(arm=whole)
    starts = [codes.get((key[0], *baseline), "") for key in conditions]
    keyed = table[["arm", *names]].assign(a=whole, b=starts)
    keyed = keyed[~unchanged].drop_duplicates()
    pairs = list(zip(keyed["a"], keyed["b"], strict=True))
    parts = [
        compare(frame, score=score, pairs=pairs, average_over=("class",), drop_unpaired=True)
        for score in SCORES
        if pairs
    ]
    if not parts:
        return pd.DataFrame(columns=["dataset", "arm", *names, "score", *_TAKEN])
    found = pd.concat(parts, ignore_index=True).merge(keyed, on="a", validate="many_to_one")
    taken = {name: found[column] for name, column in _TAKEN.items()}
    return found[["dataset", "arm", *names, "score"]].assign(**taken)


def say_notes(found: pd.DataFrame) -> None:
    """Say on standard error which intervals are missing, and why: each reason once."""
    reasons = "; ".join(found["note"].drop_duplicates()).split("; ")
    for reason in dict.fromkeys(filter(None, reasons)):
        progress.say(f"intervals: {reason}")
