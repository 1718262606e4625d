"""The six cases of `spine`: which files of which package they are, and how each is cut out.

Every case becomes an axial volume of 96 x 96 pixels of 1.5 mm in its own slice spacing, around
the posterior midline of the body. The crop is found from the image, never from the mask.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pydicom
from scipy import ndimage

from llm4seg_probe.data.formats import read_nrrd
from llm4seg_probe.fetching import Package

PIXEL_MM = 1.5
SIZE = 96
_BEHIND_MM = 3.0
"""Air left behind the skin of the back; with it no vertebra of the six reaches the border."""

SLICERIO = Package(
    "slicerio",
    "1.4.0",
    "ae3432ee06386bfe3b2e8d2d07940411fcbaefab8ed89a3853ee9c5ac19e296b",
    827_115,
)
TOTALSEGMENTATOR = Package(
    "TotalSegmentator",
    "2.18.0",
    "5d4223ef93973bc36d710869d11e7742ead2c154c72f7f9edcaaadd5b6c4bd03",
    38_049_988,
    source_archive=True,
)
TPTBOX = Package(
    "TPTBox",
    "1.1.0",
    "975a68f4117ab81fcc2d819d6127f301b1cc50210e08e73df1b9a818ee3be984",
    8_759_240,
)


@dataclass(frozen=True)
class Case:
    """One person's volume: where it comes from and which labels are vertebrae."""

    name: str
    modality: str
    package: Package
    image: str | tuple[str, ...]
    """Member of the archive; several are the slices of one DICOM series."""
    mask: str
    labels: tuple[int, int]
    """First and last label of the vertebrae."""
    person: str
    """The same for cases that may be one person."""
    patch: bool
    """Whether the image is a patch inside the body, without skin."""


_REFERENCE = "totalsegmentator-2.18.0/tests/reference_files/"
_DICOM = _REFERENCE + "example_ct_dicom/CT.1.3.12.2.1107.5.1.4.60064.300000221208081134280000"

CASES = (
    Case(
        "ct-1",
        "ct",
        SLICERIO,
        "slicerio/data/CTChest4.nrrd",
        "slicerio/data/Segmentation.seg.nrrd",
        (2, 4),
        "person-1",
        patch=False,
    ),
    Case(
        "ct-2",
        "ct",
        TOTALSEGMENTATOR,
        _REFERENCE + "example_ct.nii.gz",
        _REFERENCE + "spine_report/example_ct_report/totalseg.nii.gz",
        (26, 50),
        "person-2",
        patch=False,
    ),
    Case(
        "ct-3",
        "ct",
        TOTALSEGMENTATOR,
        tuple(f"{_DICOM}{number}" for number in range(16573, 16593)),
        _REFERENCE + "example_seg_dicom.nii.gz",
        (26, 50),
        "person-2",
        patch=False,
    ),
    Case(
        "ct-4",
        "ct",
        TPTBOX,
        "TPTBox/tests/sample_ct/sub-ct_label-22_ct.nii.gz",
        "TPTBox/tests/sample_ct/sub-ct_seg-vert_label-22_msk.nii.gz",
        (1, 99),
        "person-4",
        patch=True,
    ),
    Case(
        "mr-5",
        "mr",
        TOTALSEGMENTATOR,
        _REFERENCE + "example_mr_sm.nii.gz",
        _REFERENCE + "example_seg_mr.nii.gz",
        (19, 19),
        "person-5",
        patch=False,
    ),
    Case(
        "mr-6",
        "mr",
        TPTBOX,
        "TPTBox/tests/sample_mri/sub-mri_label-6_T2w.nii.gz",
        "TPTBox/tests/sample_mri/sub-mri_seg-vert_label-6_msk.nii.gz",
        (1, 99),
        "person-6",
        patch=True,
    ),
)


def read_case(
    case: Case, path_of: Callable[[str], Path]
) -> tuple[nibabel.Nifti1Image, nibabel.Nifti1Image]:
    """Image and mask of a case in canonical orientation, cut and resampled to the common grid."""
    members = (case.image,) if isinstance(case.image, str) else case.image
    image = _open([path_of(member) for member in members])
    mask = _open([path_of(case.mask)])
    if image.shape != mask.shape or not np.allclose(image.affine, mask.affine, atol=1e-2):
        raise ValueError(f"{case.name}: image and mask do not lie on one grid")
    pixels = np.asanyarray(image.dataobj).astype(np.float32)
    # Scanners write -2000 to -3024 outside their field of view: air is the least there is.
    lowest = -1024.0 if case.modality == "ct" else 0.0
    pixels = np.maximum(pixels, lowest)
    labels = np.asanyarray(mask.dataobj)
    vertebra = (labels >= case.labels[0]) & (labels <= case.labels[1])
    spacing = image.header.get_zooms()[:2]
    start = _corner(pixels, case, spacing)
    cut = _resampled(pixels, start, spacing, lowest)
    cut_mask = _resampled(vertebra.astype(np.float32), start, spacing, 0.0) >= 0.5
    affine = _affine(image.affine, start, spacing)
    return (
        nibabel.Nifti1Image(np.rint(cut).astype(np.int16), affine),
        nibabel.Nifti1Image(cut_mask.astype(np.uint8), affine),
    )


def _open(paths: list[Path]) -> nibabel.Nifti1Image:
    if len(paths) > 1:
        volume = _dicom_series(paths)
    elif paths[0].suffix == ".nrrd":
        volume = read_nrrd(paths[0])
    else:
        volume = nibabel.load(paths[0])
    return nibabel.as_closest_canonical(volume)


def _dicom_series(paths: list[Path]) -> nibabel.Nifti1Image:
    """Axial slices of one series in Hounsfield units, sorted from the feet up."""
    slices = [pydicom.dcmread(path) for path in paths]
    slices.sort(key=lambda part: float(part.ImagePositionPatient[2]))
    scale, shift = float(slices[0].RescaleSlope), float(slices[0].RescaleIntercept)
    pixels = np.stack([part.pixel_array.T for part in slices], axis=-1) * scale + shift
    row_mm, column_mm = (float(length) for length in slices[0].PixelSpacing)
    x, y, z = (float(length) for length in slices[0].ImagePositionPatient)
    step = float(slices[1].ImagePositionPatient[2]) - z
    # DICOM coordinates grow towards the left and the back, NIfTI ones to the right and the front.
    affine = np.diag([-column_mm, -row_mm, step, 1.0])
    affine[:3, 3] = (-x, -y, z)
    return nibabel.Nifti1Image(pixels.astype(np.int16), affine)


def _corner(pixels: np.ndarray, case: Case, spacing: tuple[float, float]) -> np.ndarray:
    """Where the crop begins, in millimetres from the centre of pixel (0, 0).

    pixels: (X, Y, Z), growing towards the right, the front and the head.
    """
    if case.patch:
        start = (np.array(pixels.shape[:2]) * spacing - SIZE * PIXEL_MM) / 2
    else:
        body = _body(pixels, case.modality)
        columns = np.flatnonzero(body.any(axis=(1, 2)))
        middle = (columns[0] + columns[-1]) / 2
        near = np.asarray(body[int(middle) - 2 : int(middle) + 3].any(axis=0))
        back = np.median([np.flatnonzero(near[:, z])[0] for z in range(near.shape[1])])
        start = np.array(
            [middle * spacing[0] - SIZE * PIXEL_MM / 2, back * spacing[1] - _BEHIND_MM]
        )
    # The edges of pixels fall together: a 1.5 mm image is copied, not blurred, and no new pixel
    # lies halfway between two old ones, where a mask would have to guess.
    edges = np.round(start / spacing) * spacing
    return np.asarray(edges + (PIXEL_MM - np.array(spacing)) / 2)


def _body(pixels: np.ndarray, modality: str) -> np.ndarray:
    """The largest bright component, after opening that takes the table off the back."""
    threshold = -300.0 if modality == "ct" else 0.15 * float(np.percentile(pixels, 99))
    bright = ndimage.binary_opening(pixels > threshold, np.ones((3, 3, 1), bool))
    components, _ = ndimage.label(bright)
    largest = np.bincount(components.ravel())[1:].argmax() + 1
    return np.asarray(components == largest)


def _resampled(
    pixels: np.ndarray, start: np.ndarray, spacing: tuple[float, float], outside: float
) -> np.ndarray:
    """The crop of 96 x 96 pixels of 1.5 mm, linear in plane; slices stay as they are."""
    cut: np.ndarray = ndimage.affine_transform(
        pixels,
        matrix=np.array([PIXEL_MM / spacing[0], PIXEL_MM / spacing[1], 1.0]),
        offset=np.array([start[0] / spacing[0], start[1] / spacing[1], 0.0]),
        output_shape=(SIZE, SIZE, pixels.shape[2]),
        order=1,
        mode="constant",
        cval=outside,
    )
    return cut


def _affine(affine: np.ndarray, start: np.ndarray, spacing: tuple[float, float]) -> np.ndarray:
    step = np.diag([PIXEL_MM / spacing[0], PIXEL_MM / spacing[1], 1.0, 1.0])
    step[:2, 3] = start / spacing
    return np.asarray(affine @ step)
