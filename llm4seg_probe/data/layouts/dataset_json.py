"""Labels and channels in the ``dataset.json`` of nnU-Net and of the Medical Decathlon."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from llm4seg_probe.data.collection import Labels, Sample
from llm4seg_probe.data.findings import Finding
from llm4seg_probe.errors import DataError
from llm4seg_probe.reading.names import shown
from llm4seg_probe.reading.text import read_json_object

DESCRIPTION = "dataset.json"
BACKGROUND = "background"
IGNORE = "ignore"
"""nnU-Net's name for voxels whose class nobody knows."""

_MR = ("mr", "mri", "t1", "t2", "flair", "pd", "adc", "dwi", "swi", "dce", "bssfp")
"""What the name of a channel begins with where it is a magnetic resonance image."""


def read_json(path: Path) -> dict[str, Any]:
    """Contents of a JSON file that holds an object; raises DataError that names it."""
    return read_json_object(path, DataError)


def labels_in(description: dict[str, Any], path: Path) -> Labels:
    """Values of each class, background left out; several for a region.

    Reads both ways in which they are written, ``{"1": "liver"}`` and ``{"liver": 1}``. Raises
    DataError that names the file: no labels, values that are no whole numbers, a background that
    is not 0, and nnU-Net's ``ignore``, which no score here can honour.
    """
    written = description.get("labels")
    if not isinstance(written, dict) or not written:
        raise DataError(f"{path}: has no 'labels', which name the values in the masks")
    if all(str(key).isdecimal() for key in written):
        written = {str(name): value for value, name in written.items()}
    found: dict[str, int | tuple[int, ...]] = {}
    written_as: dict[str, tuple[int, ...]] = {}
    for name, value in written.items():
        values = value if isinstance(value, list) else [value]
        if not values or not all(map(_is_value, values)):
            raise DataError(
                f"{path}: the label '{name}' is {value!r}; expected a number or several"
            )
        numbers = tuple(int(one) for one in values)
        if name == IGNORE:
            raise DataError(
                f"{path}: the label '{IGNORE}' marks voxels without truth, which no score here "
                "can honour; give them a class in the masks, and take it out of 'labels'"
            )
        written_as[name] = numbers
        if numbers != (0,):
            found[name] = numbers if isinstance(value, list) else numbers[0]
    refuse_other_background(written_as, path)
    by_values: dict[tuple[int, ...], str] = {}
    for name, numbers in written_as.items():
        other = by_values.setdefault(tuple(sorted(numbers)), name)
        if other != name:
            raise DataError(
                f"{path}: the labels '{shown(other)}' and '{shown(name)}' have one value, "
                f"{', '.join(map(str, numbers))}: give each a number of its own"
            )
    if not found:
        raise DataError(f"{path}: 'labels' names the background only")
    return found


def refuse_other_background(values: Mapping[str, object], path: Path) -> None:
    """Raise DataError where 0, the background, has another name as well, or background is not 0.

    ``values`` are the value of each name, a number or a sequence of several.
    """
    numbers = {
        name: tuple(value) if isinstance(value, list | tuple) else (value,)
        for name, value in values.items()
    }
    for name, own in numbers.items():
        if name.strip().casefold() == BACKGROUND and own != (0,):
            said = ", ".join(map(str, own))
            raise DataError(
                f"{path}: the label '{shown(name)}' is {said}; background must be 0, in the masks "
                "too, as nnU-Net asks: number the classes from 1"
            )
    empty = [name for name, own in numbers.items() if 0 in own]
    if len(empty) > 1:
        raise DataError(
            f"{path}: 0 is the value of the labels {shown(', '.join(empty))}, and is the "
            "background alone: give each class a number of its own, from 1"
        )


def counted(description: Mapping[str, Any], cases: int) -> Iterator[Finding]:
    """A finding where ``numTraining`` is not the number of cases that are here."""
    said = description.get("numTraining")
    if said is None or str(said).strip() == str(cases):
        return
    what = f"{DESCRIPTION} says numTraining {shown(str(said))}, and {cases} cases are here"
    advice = "Look whether files are missing, or mend the number"
    yield Finding("warning", "cases", (), what, advice)


def ct_beside_others(channels: tuple[str, ...], samples: Sequence[Sample]) -> Iterator[Finding]:
    """A finding where a CT and other images, such as PET, are the channels of one image."""
    named = {name.casefold() for name in channels}
    if "ct" not in named or all(name.startswith("ct") for name in named):
        return
    what = f"the channels are {shown(', '.join(channels))}, and an image has one modality here"
    if any(sample.modality == "ct" for sample in samples):
        advice = "State mr, which standardises each channel by itself: ct cuts all by one window"
        yield Finding("error", "modality", (), f"{what}: ct is stated", advice)
    elif any(sample.modality == "unknown" for sample in samples):
        advice = 'State mr ("modality": "mr"): each channel is then standardised by itself'
        yield Finding("warning", "modality", (), what, advice)


def _is_value(written: object) -> bool:
    text = str(written)
    return text.isdecimal() and len(text) < 10


def channels_in(description: dict[str, Any]) -> tuple[str, ...]:
    """Names of the channels in their order (``channel_names``, or ``modality`` as it was)."""
    written = description.get("channel_names", description.get("modality"))
    if not isinstance(written, dict):
        return ()
    if not all(str(key).isdecimal() for key in written):
        return ()
    return tuple(str(written[key]) for key in sorted(written, key=lambda key: (len(key), key)))


def modality_named(channels: tuple[str, ...]) -> str:
    """``ct`` or ``mr`` where the names of all channels say so, else nothing.

    >>> modality_named(("FLAIR", "T1w", "t1gd", "T2w")), modality_named(("CT", "PET"))
    ('mr', '')
    """
    names = [name.lower() for name in channels]
    if names and all(name == "ct" for name in names):
        return "ct"
    return "mr" if names and all(name.startswith(_MR) for name in names) else ""


def modality_for_nnunet(channels: tuple[str, ...]) -> str:
    """``ct``, ``mr`` or ``photo`` as nnU-Net would normalise channels of these names.

    It takes CT by a window, ``rgb_to_0_1`` as colours, and every other name (``zscore``,
    ``noNorm``, ``rescale_to_0_1``, ``PET``, …) channel by channel, as ours takes MR. Nothing where
    CT stands beside others, as an image has one modality here.

    >>> modality_for_nnunet(("zscore",)), modality_for_nnunet(("CT", "PET"))
    ('mr', '')
    """
    named = modality_named(channels)
    names = {name.casefold() for name in channels}
    if named or not names or "ct" in names:
        return named
    return "photo" if names == {"rgb_to_0_1"} else "mr"
