"""DICOM files: what a header announces, and what a deflated one unpacks to, is known first."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import DeflatedExplicitVRLittleEndian

from llm4seg_probe.errors import DataError
from llm4seg_probe.reading.bounds import as_error, bound, pixels_fit, quietly, refuse_more
from llm4seg_probe.reading.names import refuse_other_than_file

_AGAIN = "fetch or export it again, or take it out of the folder"
_CHUNK = 2**18
_UNPACKED_SHARE = 4  # of the bound of memory: the data set is kept beside its pixels


def read_dicom(path: Path, **options: Any) -> pydicom.Dataset:
    """A data set of one file. Raises DataError for one that cannot be read, or takes too much."""
    refuse_other_than_file(path, DataError)
    with as_error(path, DataError, "not readable as DICOM"), quietly():
        if path.stat().st_size == 0:
            raise DataError(f"{path}: the file is empty: {_AGAIN}")
        try:
            meta = pydicom.filereader.read_file_meta_info(path)
        except InvalidDicomError as error:
            raise DataError(f"{path}: is no DICOM file, whatever its name: {_AGAIN}") from error
        if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            _refuse_bomb(path)
        return pydicom.dcmread(path, **options)


def pixels_of(part: pydicom.Dataset, path: Path) -> Any:
    """Pixels as they are stored. Raises DataError that cannot be decoded, or take too much."""
    with as_error(path, DataError, "its pixels are not readable"), quietly():
        rows, columns = int(part.Rows), int(part.Columns)
        frames = int(part.get("NumberOfFrames") or 1)
        samples = int(part.get("SamplesPerPixel") or 1)
        item = max(1, int(part.BitsAllocated) // 8)
        if "PixelData" not in part and "FloatPixelData" not in part:
            raise ValueError("it has none")
        sizes = (frames, rows, columns, samples)
        pixels_fit(path, sizes, item, scaled=True)
        return part.pixel_array


def _refuse_bomb(path: Path) -> None:
    """Count what a deflated data set unpacks to, and keep nothing of it."""
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    found, most = 0, bound("bytes") / _UNPACKED_SHARE
    with open(path, "rb") as stream:
        stream.seek(132)
        # The group of the file's meta information states its own length in its first element.
        element = stream.read(12)
        length = int.from_bytes(element[8:12], "little") if element[:4] == b"\x02\0\0\0" else 0
        stream.seek(144 + length)
        while found <= most and (fed := unpacker.unconsumed_tail or stream.read(_CHUNK)):
            found += len(unpacker.decompress(fed, _CHUNK * 16))
    taken = found * _UNPACKED_SHARE
    what = f"{path}: unpacks to {found / 1e6:,.0f} MB or more"
    refuse_more("bytes", taken, what, DataError, size=path.stat().st_size)
