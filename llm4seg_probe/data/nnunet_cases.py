"""Read the images of an nnU-Net network as it saw them, for the probes.

They are read as nnU-Net has preprocessed them (``nnUNet_preprocessed/DatasetXXX``), or, from a
folder in its raw layout, preprocessed by nnU-Net itself: intensities, spacing and the order of
axes are its own either way. What is smaller than the patch is padded with zeros, as nnU-Net does
before it predicts. A 2D network sees the slices of a volume, which are named CASE_zNUMBER.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from llm4seg_probe import progress
from llm4seg_probe.config import DataConfig
from llm4seg_probe.data.collection import Collection, RawImage, Sample
from llm4seg_probe.errors import ConfigError, DataError
from llm4seg_probe.reading.text import read_json_object


@dataclass(frozen=True)
class Labelling:
    """Hold the classes without background, and the labels that are each of them.

    ``output`` is ``softmax`` where labels exclude each other, and ``sigmoid`` for regions, which
    may overlap.
    """

    values: Mapping[str, tuple[int, ...]]
    output: Literal["softmax", "sigmoid"]

    @property
    def classes(self) -> tuple[str, ...]:
        """Name the classes, in the order of the output's channels."""
        return tuple(self.values)

    def masks(self, labels: np.ndarray) -> np.ndarray:
        """Make a segmentation (*grid) masks (K, *grid); -1, outside of the image, is none."""
        return np.stack([np.isin(labels, values) for values in self.values.values()])


def labelling_of(dataset: Mapping[str, Any]) -> Labelling:
    """Read the classes of a dataset.json in the order of the network's channels.

    Raises ConfigError: no labels, or an ``ignore`` label, which no score here can honour.
    """
    written = dataset.get("labels")
    if not isinstance(written, Mapping) or not written:
        raise ConfigError("dataset.json has no 'labels', which name the values in the masks")
    if "ignore" in written:
        raise ConfigError(
            "dataset.json has the label 'ignore', for voxels without truth, which no score here "
            "can honour"
        )
    found = {
        str(name): tuple(
            int(one) for one in (value if isinstance(value, list | tuple) else [value])
        )
        for name, value in written.items()
    }
    found = {name: values for name, values in found.items() if set(values) != {0}}
    if not found:
        raise ConfigError("dataset.json names the background only")
    if any(len(values) > 1 for values in found.values()):
        return Labelling(found, "sigmoid")
    return Labelling(dict(sorted(found.items(), key=lambda item: item[1])), "softmax")


MODALITY = "nnunet"
"""Modality of an image whose intensities nnU-Net has prepared already."""
_SLICE = re.compile(r"(?P<case>.+)_z(?P<number>\d{4,})")


class Cases(Protocol):
    """Give preprocessed volumes by the name of their case."""

    def names(self) -> list[str]:
        """List all cases that have a segmentation."""

    def depth(self, case: str) -> int:
        """Count the slices of a preprocessed case."""

    def read(self, case: str) -> tuple[np.ndarray, np.ndarray]:
        """Read image (C, D, H, W) as float32 and segmentation (D, H, W)."""

    def file(self, case: str) -> Path:
        """Name a file that the case is read from, for messages."""


@dataclass(frozen=True)
class PreparedCases:
    """Read cases that nnU-Net has preprocessed, one or two files each in a folder."""

    folder: Path

    def names(self) -> list[str]:
        """List all cases of the folder."""
        suffixes = (".b2nd", ".npz")
        found = {path.stem for path in self.folder.iterdir() if path.suffix in suffixes}
        return sorted(name for name in found if not name.endswith("_seg"))

    def depth(self, case: str) -> int:
        """Count the slices of the case."""
        return int(self._opened(case, "")[0].shape[1])

    def read(self, case: str) -> tuple[np.ndarray, np.ndarray]:
        """Read image and segmentation."""
        return (
            np.asarray(self._opened(case, "")[0][:], dtype=np.float32),
            np.asarray(self._opened(case, "_seg")[0][:])[0],
        )

    def file(self, case: str) -> Path:
        """Name the image's file."""
        path = self.folder / f"{case}.b2nd"
        return path if path.is_file() else self.folder / f"{case}.npz"

    def _opened(self, case: str, part: str) -> tuple[Any]:
        path = self.folder / f"{case}{part}.b2nd"
        try:
            if path.is_file():
                import blosc2

                return (blosc2.open(str(path), mode="r"),)
            with np.load(self.folder / f"{case}.npz", allow_pickle=False) as stored:
                return (stored["seg" if part else "data"],)
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"{path} is read with blosc2, which is not installed: "
                "pip install 'llm4seg-probe[nnunet]'"
            ) from error
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            raise DataError(f"{path}: not readable ({error})") from error


class RawCases:
    """Have nnU-Net preprocess cases in its raw layout when they are read."""

    def __init__(self, folder: Path, plans: Mapping[str, Any], configuration: str) -> None:
        try:
            from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
            from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"{folder} holds raw images of nnU-Net, whose own preprocessing is not installed "
                "in this environment: pip install 'llm4seg-probe[nnunet]'"
            ) from error

        self._plans = PlansManager(dict(plans))
        self._configuration = self._plans.get_configuration(configuration)
        path = folder / "dataset.json"
        self._dataset = read_json_object(path, DataError)
        self._files = get_filenames_of_train_images_and_targets(str(folder), self._dataset)
        self._preprocessor = self._configuration.preprocessor_class(verbose=False)

    def names(self) -> list[str]:
        """List all cases with labels."""
        return sorted(self._files)

    def depth(self, case: str) -> int:
        """Count the slices of the preprocessed case."""
        return int(self.read(case)[0].shape[1])

    def read(self, case: str) -> tuple[np.ndarray, np.ndarray]:
        """Read and preprocess image and segmentation."""
        if case not in self._files:
            raise DataError(f"there is no case {case} among {len(self._files)} in imagesTr")
        files = self._files[case]
        image, labels, _ = self._preprocessor.run_case(
            files["images"], files["label"], self._plans, self._configuration, self._dataset
        )
        return np.asarray(image, dtype=np.float32), np.asarray(labels)[0]

    def file(self, case: str) -> Path:
        """Name the first channel's file."""
        return Path(self._files[case]["images"][0])


@dataclass(frozen=True, eq=False)
class NnunetCollection(Collection):
    """Give images and masks as an nnU-Net network sees them."""

    cases: Cases = field(default=None)  # type: ignore[assignment]
    labelling: Labelling = field(default=None)  # type: ignore[assignment]
    patch: tuple[int, ...] = ()
    spacing: tuple[float, ...] | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Hash the names; the images are another program's, and are not read for it."""
        names = "\n".join(sample.image for sample in self.samples)
        return hashlib.sha256(f"{self.name}\n{names}".encode()).hexdigest()

    def read(self, sample: Sample) -> RawImage:
        """Read the preprocessed image, or one slice of it, with at least the patch's pixels."""
        image, labels = self._volume(sample.group)
        if sample.slice is not None:
            if not 0 <= sample.slice < image.shape[1]:
                raise DataError(
                    f"{sample.image_file}: {sample.group} has {image.shape[1]} slices as it is "
                    f"preprocessed here, but the run names {sample.image}"
                )
            image, labels = image[:, sample.slice], labels[sample.slice]
        masks = self.labelling.masks(labels)
        return RawImage(
            padded(image, self.patch), padded(masks, self.patch), self.spacing, MODALITY
        )

    @cached_property
    def _volume(self) -> Any:
        return lru_cache(maxsize=2)(self.cases.read)


def padded(pixels: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Put zeros around pixels (C, *grid), up to ``size``; the smaller half comes first."""
    lacking = [max(side - length, 0) for length, side in zip(pixels.shape[1:], size, strict=True)]
    width = [(0, 0), *((lack // 2, lack - lack // 2) for lack in lacking)]
    return np.pad(pixels, width) if any(lacking) else pixels


def open_cases(
    folder: Path, data: DataConfig, images: Sequence[str] | None = None
) -> NnunetCollection:
    """Open the images that a run of an nnU-Net network means, all of a folder's unless named.

    ``folder`` is that of a data set, preprocessed or raw. Raises DataError where it is neither.
    """
    assert data.nnunet is not None
    plans, configuration = data.nnunet["plans"], data.nnunet["configuration"]
    cases = cases_in(folder, plans, configuration, data.nnunet["data_identifier"])
    names = images if images is not None else names_of(cases, cases.names(), len(data.image_size))
    return NnunetCollection(
        name=folder.resolve().name,
        samples=tuple(_sample(name, cases, len(data.image_size)) for name in names),
        classes=data.classes,
        cases=cases,
        labelling=labelling_of(data.nnunet["dataset"]),
        patch=data.image_size,
        spacing=tuple(data.nnunet["spacing"]),
    )


def cases_in(folder: Path, plans: Mapping[str, Any], configuration: str, identifier: str) -> Cases:
    """Find the cases in a data set's folder, preprocessed or raw. Raises DataError."""
    if (folder / identifier).is_dir():
        return PreparedCases(folder / identifier)
    if (folder / "imagesTr").is_dir() and (folder / "dataset.json").is_file():
        return RawCases(folder, plans, configuration)
    raise DataError(
        f"{folder}: a network of nnU-Net's sees images that nnU-Net has prepared: give a data set "
        f"of nnUNet_preprocessed, with {identifier}, or of nnUNet_raw, with imagesTr, labelsTr and "
        "dataset.json"
    )


def names_of(cases: Cases, wanted: Sequence[str], axes: int) -> tuple[str, ...]:
    """Name the images of some cases: the cases, or their slices for a 2D network."""
    return tuple(_names(cases, wanted, axes))


def _names(cases: Cases, wanted: Sequence[str], axes: int) -> Iterator[str]:
    for case in progress.track(wanted, "Looking at the cases"):
        if axes == 3:
            yield case
            continue
        for number in range(cases.depth(case)):
            yield f"{case}_z{number:04d}"


def _sample(name: str, cases: Cases, axes: int) -> Sample:
    found = _SLICE.fullmatch(name) if axes == 2 else None
    case, number = (found["case"], int(found["number"])) if found else (name, None)
    file = cases.file(case)
    return Sample(
        image=name,
        group=case,
        modality=MODALITY,
        image_file=file,
        mask_files=(file,),
        slice=number,
    )
