"""Findings on one file or image: its own statements, and what is odd about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from llm4seg_probe.data import dicom_series, formats, pictures
from llm4seg_probe.data.collection import RawImage, Sample
from llm4seg_probe.data.findings import Finding
from llm4seg_probe.data.places import Place

_SAYS_NOTHING = ("OT", "SC", "SEG", "PR")
"""DICOM's names of what is no modality: other, secondary capture, segmentation, presentation."""
_SOFT_TISSUE = -50.0
"""Hounsfield units below which fat lies (-100) and air, of which some is in nearly every CT."""
_FINEST, _COARSEST = 0.005, 50.0
"""Millimetres between pixels below and above which the unit is doubted."""


def scale(sample: Sample, raw: RawImage, constant: bool) -> Iterator[Finding]:
    """Photographs that are not on a scale of 0 to 255, and spacings that are no millimetres."""
    low, high = float(raw.image.min()), float(raw.image.max())
    if sample.modality == "photo" and not constant and (low < 0 or high > 255 or high <= 1):
        what = f"a photograph is on a scale of 0 to 255; this image runs from {low:g} to {high:g}"
        advice = "State its modality (ct, mr) if these are units of their own, or store 8 bits"
        yield Finding("warning", "scale", (sample.image,), what, advice)
    if sample.modality == "ct" and not constant and (wrong := _no_hounsfield(low, high)):
        advice = (
            "CT's window cuts Hounsfield units (air is -1000, water 0): rescale the files, or "
            "state another modality"
        )
        yield Finding("warning", "scale", (sample.image,), wrong, advice)
    if raw.spacing and not all(_FINEST <= mm <= _COARSEST for mm in raw.spacing):
        what = f"pixels are {' x '.join(f'{mm:.3g}' for mm in raw.spacing)} mm apart"
        advice = "Look whether the header's lengths are millimetres, and its unit is stated"
        yield Finding("warning", "spacing", (sample.image,), what, advice)


def _no_hounsfield(low: float, high: float) -> str:
    """Why numbers that are called CT's seem to be no Hounsfield units; empty where they may be."""
    if low >= -1 and high <= 1:
        return "a CT lies between -1 and 1: it seems to be scaled already"
    if low > _SOFT_TISSUE:
        return (
            f"a CT has nothing below {_SOFT_TISSUE:g}, neither air nor fat (files often start at "
            "0, 1024 too high)"
        )
    return ""


def modality(sample: Sample) -> Iterator[Finding]:
    """A DICOM file whose Modality is not the one that the data set states."""
    for path in (sample.image_file, *sample.channel_files):
        own = dicom_series.modality_stated(path)
        meant = dicom_series.MODALITIES.get(own, "")
        if own in ("", *_SAYS_NOTHING) or meant == sample.modality or sample.modality == "unknown":
            continue
        what = f"the file says Modality {own}, the data set says {sample.modality}"
        if sample.modality == "ct":
            advice = (
                "Its numbers would be cut by CT's window as if they were Hounsfield units: state "
                "mr (PET too is then scaled by its own values) in dataset.json or the table"
            )
            yield Finding("error", "modality", (sample.image,), what, advice)
        elif meant:
            advice = f"State {meant} in dataset.json or the table, unless the file is wrong"
            yield Finding("warning", "modality", (sample.image,), what, advice)


def transparency(sample: Sample, path: Path, kind: str) -> Iterator[Finding]:
    """Pixels of a picture that are transparent, of which the colour alone is taken."""
    if formats.suffix_of(path) not in formats.PICTURES:
        return
    share = pictures.transparent_share(path)
    if share:
        shown = f"{share:.0%}" if share >= 0.01 else "less than 1%"
        what = f"{shown} of the pixels of the {kind} are not opaque; that is left out"
        advice = "Store it without transparency, on the background that is meant"
        yield Finding("warning", "transparency", (sample.image,), what, advice)


def stated_in(sample: Sample, kind: str, place: Place) -> Iterator[Finding]:
    """What a header states that was applied, or that cannot be right."""
    for remark in place.remarks:
        applied = remark.endswith("read as millimetres")
        advice = "Nothing needs to be done" if applied else "Look at the header, and mend it"
        severity: Literal["note", "warning"] = "note" if applied else "warning"
        what = f"the file of the {kind}: {remark}"
        yield Finding(severity, "header", (sample.image,), what, advice)


def two_spacings(sample: Sample) -> Iterator[Finding]:
    """A spacing in the table that is not that of the file, which it replaces."""
    if sample.spacing is None:
        return
    own = formats.read_image(sample.image_file, sample.slice, sample.modality)[1]
    if own is not None and not np.allclose(own, sample.spacing, rtol=0.01):
        table, file = (" x ".join(f"{mm:.3g}" for mm in s) for s in (sample.spacing, own))
        what = f"the table says {table} mm, the file {file} mm"
        advice = "The table is taken; leave its cells empty for what the files say"
        yield Finding("warning", "spacing", (sample.image,), what, advice)


def palette(sample: Sample, path: Path) -> Iterator[Finding]:
    """A mask with a palette whose foreground depends on whether indices or colours count."""
    if formats.suffix_of(path) not in formats.PICTURES:
        return
    found = pictures.palette_of(path)
    if found is None or not found.is_ambiguous:
        return
    if found.is_grey:
        read = "palette of greys and are read by their brightness, as viewers show them"
        other = "by the indices, the foreground would be other pixels"
    else:
        read = "palette of colours and are read by their indices, as label masks are stored"
        other = "by the colours that are not black, the foreground would be other pixels"
    advice = "See on the contact sheet which is meant, and store masks as 0 and 255 or as labels"
    what = f"masks have a {read}; {other}"
    yield Finding("warning", "palette", (sample.image,), what, advice)


def picture(sample: Sample, path: Path) -> Iterator[Finding]:
    """What a picture's file states: bits, orientation, resolution."""
    if formats.suffix_of(path) not in formats.PICTURES:
        return
    names = (sample.image,)
    shown = formats.read_picture(path)
    photo = sample.modality not in ("ct", "mr")
    if photo and shown.full is not None and shown.full > 255:
        top = int(shown.pixels.max())
        what = f"{path}: has {shown.bits} bits, up to {top} of {shown.full:.0f}"
        advice = (
            f"It is divided by {shown.full / 255:.4g}, as the full scale: store fewer bits or "
            "other units as NIfTI"
        )
        yield Finding("warning", f"{shown.bits} bits", names, what, advice)
    if shown.turned != 1:
        what = f"the picture is turned as its orientation (EXIF {shown.turned}) says"
        advice = "As viewers show it; masks are to be drawn on what they show"
        yield Finding("note", "orientation", names, what, advice)
    if shown.resolution:
        what = f"the picture states {shown.resolution}, which is not taken for its spacing"
        advice = "Write spacing_y and spacing_x in samples.csv if it is the size of the thing shown"
        yield Finding("warning", "resolution", names, what, advice)
