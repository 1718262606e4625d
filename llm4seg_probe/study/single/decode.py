"""Linear decoding of finished runs' tokens, with the sides on which its probes learn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from llm4seg_probe import tables
from llm4seg_probe.errors import DataError, unknown
from llm4seg_probe.randomness import address
from llm4seg_probe.study.probes import untrained
from llm4seg_probe.study.single.result import ProbeResult, each_run, means, written

if TYPE_CHECKING:
    from llm4seg_probe.data.batches import Batch
    from llm4seg_probe.data.collection import Collection
    from llm4seg_probe.probing.decode import Side
    from llm4seg_probe.training.run import Run

_TESTED = ("test", "val")
_HELD_BACK = 5


def decode_runs(
    checkpoints: Sequence[Path],
    out: Path,
    *,
    sites: tuple[str, ...],
    sizes: tuple[int, ...] = (1, 4, 16),
    split: str = "test",
    data: Path | None = None,
    split_seed: int = 0,
) -> ProbeResult:
    """Linear probes on the tokens of each run, by site: ``decode.csv`` and its figures.

    Probes learn from the training images of the run's own split and are tested on ``split``.
    Images of ``data`` are divided by groups with ``split_seed``, for a run that does not say
    what it was trained on. See :func:`sides_of` for the images that choose the penalty.
    """
    from llm4seg_probe.probing.decode import decode_table

    def measure(run: Run) -> pd.DataFrame:
        sides = sides_of(run, split, data, split_seed)
        collection = run.collection(data)

        def images(side: Side) -> Iterator[Batch]:
            return _batches(run, collection, sides[side])

        return decode_table(run, images, sites, sizes, untrained=untrained(run))

    found = each_run(checkpoints, measure, doing="Decoding", data=data)
    table, target = written(found, out, tables.DECODE)
    most = table.groupby("run")["training_images"].transform("max")
    together = table[(table["image"] == "") & (table["training_images"] == most)]
    keys = ["run", "site", "input", "null", "training_images"]
    summary = means(together, keys, ["auroc", "average_precision", "dice"])
    return ProbeResult(table, summary, target, _figures(out))


def sides_of(
    run: Run, split: str = "test", data: Path | None = None, split_seed: int = 0
) -> dict[Side, tuple[str, ...]]:
    """Names of the images on which probes learn, their penalty is chosen, and they are tested.

    The penalty is chosen on the validation images; where these are the tested ones, on a fifth
    of the training groups, which then do not train. Raises DataError for a side that cannot be
    tested, and for data that cannot be divided.
    """
    from llm4seg_probe.data.splits import split_of

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


def _batches(
    run: Run, collection: Collection, images: tuple[str, ...], size: int = 16
) -> Iterator[Batch]:
    from llm4seg_probe.data.batches import ImageDataset, batches

    return batches(ImageDataset(collection, images, run.config.data, augment_seed=None), size)


def _figures(out: Path) -> tuple[Path, ...]:
    from llm4seg_probe.reporting.figures import decode
    from llm4seg_probe.reporting.saving import save_figure
    from llm4seg_probe.reporting.summaries import apart_by_dataset, told_apart

    source = out / tables.DECODE.name
    table = apart_by_dataset(told_apart(tables.read_table(source, tables.DECODE)))
    drawn = {"decode": decode.figure(table), "decode-images": decode.curves(table)}
    saved = [save_figure(figure, out / "figures", name, source) for name, figure in drawn.items()]
    return tuple(path for paths in saved for path in paths.values())
