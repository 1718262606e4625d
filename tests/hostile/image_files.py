"""Good image files of all formats, as bytes, and fields of their headers to exchange."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable

import numpy as np
from PIL import Image


def nifti(array: np.ndarray, packed: bool) -> bytes:
    import nibabel

    content = nibabel.Nifti1Image(array, np.diag([1.0, 1, 2, 1])).to_bytes()
    return gzip.compress(content, mtime=0) if packed else content


def nrrd(array: np.ndarray) -> bytes:
    head = (
        f"NRRD0004\ntype: uint8\ndimension: {array.ndim}\nsizes: {' '.join(map(str, array.shape))}"
        "\nencoding: raw\nspacings: 1 1 1\n\n"
    )
    return head.encode() + array.tobytes("F")


def metaimage(array: np.ndarray, end: str = "LOCAL") -> bytes:
    head = (
        f"ObjectType = Image\nNDims = {array.ndim}\nBinaryData = True\nElementSpacing = 1 1 2\n"
        f"DimSize = {' '.join(map(str, array.shape))}\nElementType = MET_UCHAR\n"
        f"ElementDataFile = {end}\n"
    )
    return head.encode() + array.tobytes("F")


def dicom(array: np.ndarray) -> bytes:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = meta.MediaStorageSOPInstanceUID = "1.2.3"
    part = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    part.Rows, part.Columns = array.shape[:2]
    part.BitsAllocated = part.BitsStored = 8
    part.HighBit, part.PixelRepresentation, part.SamplesPerPixel = 7, 0, 1
    part.PhotometricInterpretation = "MONOCHROME2"
    part.PixelData = array[..., 0].tobytes()
    stream = io.BytesIO()
    part.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def picture(array: np.ndarray, kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array[..., 0]).save(stream, kind)
    return stream.getvalue()


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array.transpose(2, 0, 1))
    return stream.getvalue()


IMAGES: dict[str, Callable[[np.ndarray], bytes]] = {
    ".nii": lambda array: nifti(array, False),
    ".nii.gz": lambda array: nifti(array, True),
    ".nrrd": nrrd,
    ".mha": metaimage,
    ".dcm": dicom,
    ".png": lambda array: picture(array, "PNG"),
    ".jpg": lambda array: picture(array, "JPEG"),
    ".bmp": lambda array: picture(array, "BMP"),
    ".tif": lambda array: picture(array, "TIFF"),
    ".npy": npy,
}
FIELDS = (
    ("DimSize = ", "DimSize = 9999999 "), ("LOCAL", "%s%s%s%s%n.raw 1 1 1"),
    ("LOCAL", "../../../etc/passwd"), ("LOCAL", "LIST\na.raw"), ("NDims = 3", "NDims = 99999999"),
    ("MET_UCHAR", "MET_%s%n"), ("sizes: ", "sizes: 999999999 "), ("raw\n", "gzip\n"),
    ("raw\n", "raw\ndata file: /etc/passwd\n"), ("raw\n", "raw\nline skip: 999999999\n"),
    ("raw\n", "raw\nbyte skip: -1\n"), ("raw\n", "raw\nbyte skip: 99999999999\n"),
    ("type: uint8", "type: block"), ("1 1 2", "nan 0 -1"), ("1 1 1", "none inf 1"),
)  # fmt: skip
