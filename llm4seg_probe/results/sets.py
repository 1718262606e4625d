"""Data sets in the hand, and lists of names: ``lp.data.check|split|open|list`` and ``lp.list``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from llm4seg_probe.config import DataConfig
from llm4seg_probe.data.collection import FOREGROUND, Collection
from llm4seg_probe.data.contact_sheet import chosen, sheet_of
from llm4seg_probe.data.datasets import catalogue_table, open_collection
from llm4seg_probe.data.findings import Finding, findings_table
from llm4seg_probe.data.near_duplicates import DISTANCE
from llm4seg_probe.data.quality import CheckResult, SplitResult, check_data, side_counts, split_data
from llm4seg_probe.data.splits import SIDES
from llm4seg_probe.pseudonyms import key_beside
from llm4seg_probe.results.names import names_of
from llm4seg_probe.results.result import Result
from llm4seg_probe.tables import CHECK, write_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image
    from torch import Tensor


class Listing(Result):
    """Names of one kind with what they are."""

    def __init__(self, kind: str, table: pd.DataFrame) -> None:
        self.kind = kind
        self._rows = table

    @property
    def table(self) -> pd.DataFrame:
        """One row per name."""
        return self._rows

    @property
    def _name(self) -> str:
        return self.kind


def list_names(kind: str) -> Listing:
    """List what there is of one kind.

    Parameters
    ----------
    kind : {"arms", "sites", "backbones", "probes", "claims", "presets"}

    Returns
    -------
    Listing
        One row per name, in the order in which tables show them.

    Raises
    ------
    UserError
        For a kind that there is not.
    """
    entries = names_of(kind)
    return Listing(kind, pd.DataFrame({"name": list(entries), "description": entries.values()}))


def list_sets() -> Listing:
    """List the data sets that are opened by a name.

    Returns
    -------
    Listing
        One row per set: source, licence, size, and whether it is on this machine.
    """
    return Listing("data", catalogue_table())


def _drawn(draw: Callable[[], Image]) -> Figure:
    return _figure_of(draw())


def _figure_of(picture: Image) -> Figure:
    """A picture at its own size."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(picture.width / 100, picture.height / 100), dpi=100)
    axes = drawing.add_axes((0, 0, 1, 1))
    axes.imshow(picture)
    axes.axis("off")
    return drawing


class DataSet(Result):
    """A data set as opened; ``.collection`` reads single images."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection

    def __len__(self) -> int:
        return len(self.collection.samples)

    @property
    def table(self) -> pd.DataFrame:
        """One row per image: its group (patient), modality, slice and file."""
        return pd.DataFrame(
            [
                {"image": one.image, "group": one.group, "modality": one.modality,
                 "slice": one.slice, "side": one.side, "file": str(one.image_file)}
                for one in self.collection.samples
            ]
        )  # fmt: skip

    @property
    def summary(self) -> pd.DataFrame:
        """Images, groups, modalities and classes."""
        table = self.table
        row = {
            "dataset": self.collection.name,
            "images": len(table),
            "groups": table["group"].nunique(),
            "modalities": ", ".join(dict.fromkeys(table["modality"])),
            "classes": ", ".join(self.collection.classes),
        }
        return pd.DataFrame([row])

    @property
    def sentences(self) -> tuple[str, ...]:
        """What is known of it: note, licence, and what was seen as it was listed."""
        known = (self.collection.note, f"Licence: {self.collection.licence or 'not stated'}.")
        return (*filter(None, known), *(one.sentence for one in self.collection.noticed))

    def images(
        self, count: int | None = None, size: Sequence[int] = (96, 96), channels: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Images (B, C, *size) and masks (B, K, *size), as a run of ours would see them.

        ``count`` images evenly spaced through the set, all unless given: a choice that nobody made.
        """
        from llm4seg_probe.data.batches import ImageDataset, batches
        from llm4seg_probe.drawing.table_rows import spread_out

        names = [sample.image for sample in self.collection.samples]
        wanted = [names[place] for place in spread_out(len(names), count or len(names))]
        settings = DataConfig(
            name=self.collection.name, image_size=tuple(size), channels=channels,
            classes=self.collection.classes, augmentation="none",
        )  # fmt: skip
        whole = ImageDataset(self.collection, tuple(wanted), settings, augment_seed=None)
        (batch,) = batches(whole, len(wanted))
        return batch.images, batch.masks

    def _drawings(self) -> dict[str, Callable[[], Figure]]:
        return {"contact-sheet": self._sheet}

    def _sheet(self) -> Figure:
        names = [sample.image for sample in self.collection.samples]
        return _figure_of(sheet_of(self.collection, chosen(names), {}))

    @property
    def _name(self) -> str:
        return "images"


def open_set(name: str | Path, *, classes: Sequence[str] = (FOREGROUND,)) -> DataSet:
    """Open a data set.

    Parameters
    ----------
    name : str or Path
        A name of ``lp.data.list()``, a folder, or a CSV file of paths.
    classes : sequence of str
        Names of the masks' classes; the one class ``foreground`` is all labels together.

    Returns
    -------
    DataSet

    Raises
    ------
    DataError
        That names the folder or file.
    """
    return DataSet(open_collection(str(name), classes=tuple(classes)))


class Checked(Result):
    """What would make training on a data set wrong."""

    def __init__(self, found: CheckResult) -> None:
        self.found = found

    @property
    def collection(self) -> Collection:
        """The data set."""
        return self.found.collection

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was found, errors first."""
        return self.found.findings

    @property
    def errors(self) -> int:
        """Findings with which training would be wrong."""
        return self.found.checked.errors

    @property
    def warnings(self) -> int:
        """Findings that want a look."""
        return sum(finding.severity == "warning" for finding in self.findings)

    @property
    def table(self) -> pd.DataFrame:
        """One row per finding, as ``check.csv`` has them."""
        return findings_table(self.findings)

    @property
    def summary(self) -> pd.DataFrame:
        """How many images there are and can be read, and how many findings of each kind."""
        row = {
            "dataset": self.collection.name,
            "images": len(self.collection.samples),
            "readable": len(self.found.checked.readable),
            "errors": self.errors,
            "warnings": self.warnings,
        }
        return pd.DataFrame([row])

    @property
    def sentences(self) -> tuple[str, ...]:
        """The findings in words."""
        return tuple(finding.sentence for finding in self.findings)

    def _drawings(self) -> dict[str, Callable[[], Figure]]:
        return {
            name.removesuffix(".png"): partial(_drawn, draw)
            for name, draw in self.found.sheets().items()
        }

    def save(self, folder: str | Path) -> tuple[Path, ...]:
        """Write ``check.csv`` and the contact sheets."""
        out = Path(folder)
        write_table(self.table, out / CHECK.name, CHECK)
        if self.found.numbers.names:
            self.found.numbers.write_key(key_beside(out))
        return (out / CHECK.name, *self.found.save_sheets(out))


def check(
    name: str | Path,
    *,
    classes: Sequence[str] = (FOREGROUND,),
    split: str | None = None,
    seed: int = 0,
    distance: int = DISTANCE,
    pseudonyms: bool = False,
) -> Checked:
    """Look for what would make training on a data set wrong.

    Parameters
    ----------
    name, classes
        As in :func:`open_set`.
    split : str, optional
        A way to split, or the path of a stored split, in which leaks are looked for.
    seed : int
        Of a split that is drawn.
    distance : int
        Bits of 256 in which the hashes of near-duplicates differ at most.
    pseudonyms : bool
        Numbers for the names of patients and images in all that is shown; ``.save(folder)`` writes
        which is which beside the folder.

    Returns
    -------
    Checked
        ``.errors`` counts what would make training invalid.

    Raises
    ------
    DataError
        Where the set cannot even be listed.
    """
    found = check_data(
        str(name), classes=tuple(classes), split=split, seed=seed, distance=distance,
        pseudonyms=pseudonyms,
    )  # fmt: skip
    return Checked(found)


class Splits(Result):
    """Splits that were drawn, one, or one per fold."""

    def __init__(self, found: SplitResult) -> None:
        self.found = found

    @property
    def splits(self) -> Mapping[str, object]:
        """The splits by the name of their file."""
        return self.found.splits

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per image and split: its side."""
        rows = [
            {"split": name.removesuffix(".json"), "side": side, "image": image,
             "group": self.found.collection.sample(image).group}
            for name, split in self.found.splits.items()
            for side in SIDES
            for image in split.side(side)
        ]  # fmt: skip
        return pd.DataFrame(rows)

    @property
    def summary(self) -> pd.DataFrame:
        """Images and groups on each side."""
        grouped = self.table.groupby(["split", "side"], sort=False)
        return grouped.agg(images=("image", "size"), groups=("group", "nunique")).reset_index()

    @property
    def sentences(self) -> tuple[str, ...]:
        """What each side holds, and what must be said of it in every report."""
        said = []
        for name, split in self.found.splits.items():
            said.append(f"{name}: {side_counts(self.found.collection, split)}.")
            said += split.caveats
        return tuple(said)

    def save(self, folder: str | Path) -> tuple[Path, ...]:
        """Write each split as JSON, for ``data.split`` of a configuration."""
        return self.found.save(Path(folder))


def split(
    name: str | Path,
    *,
    classes: Sequence[str] = (FOREGROUND,),
    kind: str = "groups",
    folds: int | None = None,
    seed: int = 0,
    group_duplicates: bool = False,
    distance: int = DISTANCE,
) -> Splits:
    """Draw training, validation and test images, or folds.

    Parameters
    ----------
    name, classes
        As in :func:`open_set`.
    kind : str
        ``groups`` (by patient, stratified by size), ``cases``, ``blocks``, ``reference`` or
        ``own``.
    folds : int, optional
        As many splits, whose test sides partition the set.
    seed : int
        Another seed draws another split.
    group_duplicates : bool
        Keep near-duplicates on one side.
    distance : int
        Bits of 256 in which the hashes of near-duplicates differ at most.

    Returns
    -------
    Splits
        ``.save(folder)`` writes them.

    Raises
    ------
    DataError
        Where the data cannot be split that way.
    """
    found = split_data(
        str(name), classes=tuple(classes), kind=kind, folds=folds, seed=seed,
        group_duplicates=group_duplicates, distance=distance,
    )  # fmt: skip
    return Splits(found)
