"""Sides of the images: to train probes on, to choose penalties on, and to test."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from llm4seg_probe.data.collection import Collection
from llm4seg_probe.data.splits import split_of
from llm4seg_probe.errors import DataError, unknown
from llm4seg_probe.randomness import address
from llm4seg_probe.training.stored_run import Run

Side = Literal["train", "validation", "test"]

_TESTED = ("test", "val")
_HELD_BACK = 5


def sides_of(
    run: Run, split: str = "test", data: Path | None = None, split_seed: int = 0
) -> dict[Side, tuple[str, ...]]:
    """Names of the images on which probes learn, their penalty is chosen, and they are tested.

    The penalty is chosen on the validation images; where these are the tested ones, on a fifth
    of the training groups, which then do not train. Raises DataError for a side that cannot be
    tested, and for data that cannot be divided.
    """
    if split not in _TESTED:
        raise DataError(
            f"{unknown('split', split, _TESTED)}: probes learn from the training images and are "
            "tested on others"
        )
    collection = run.collection(data)
    if data is None:
        sides = run.split
    else:
        drawn = run.config.data.model_copy(update={"split": "groups", "split_seed": split_seed})
        sides = split_of(collection, drawn)
    train, tested = sides.train, sides.side(split)
    if set(sides.val) & set(tested):
        train, validation = _held_back(collection, train)
    else:
        validation = sides.val
    return {"train": train, "validation": validation, "test": tested}


def _held_back(
    collection: Collection, images: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The images without those of every fifth unit, and those; always the same ones."""
    unit_of = {image: collection.sample(image).unit for image in images}
    units = sorted(set(unit_of.values()), key=lambda unit: address("decode", "held back", unit))
    if len(units) < 2:
        raise DataError(
            f"all training images are of {units[0]}, so that none can be held back to choose the "
            "penalty on; give a split whose validation images are not its test images"
        )
    held = set(units[: max(1, len(units) // _HELD_BACK)])
    kept = tuple(image for image in images if unit_of[image] not in held)
    return kept, tuple(image for image in images if unit_of[image] in held)
