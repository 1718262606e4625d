"""Writing small DICOM series for the tests."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SERIES = generate_uid(entropy_srcs=["series"])


def write_slice(path: Path, stored: np.ndarray, place: tuple[float, ...], **tags: object) -> None:
    """One uncompressed file of 12 bits; ``tags`` overwrite what is set here."""
    part = Dataset()
    part.file_meta = FileMetaDataset()
    part.file_meta.MediaStorageSOPClassUID = part.SOPClassUID = CTImageStorage
    part.file_meta.MediaStorageSOPInstanceUID = part.SOPInstanceUID = generate_uid()
    part.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    part.SeriesInstanceUID = SERIES
    part.Modality = "CT"
    part.Rows, part.Columns = stored.shape[:2]
    part.SamplesPerPixel = 1
    part.PhotometricInterpretation = "MONOCHROME2"
    part.BitsAllocated, part.BitsStored, part.HighBit = 16, 12, 11
    part.PixelRepresentation = 0
    part.PixelSpacing = [2.0, 1.0]
    part.SliceThickness = 3.0
    part.RescaleSlope, part.RescaleIntercept = 2, -1024
    part.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    part.ImagePositionPatient = list(place)
    part.PixelData = stored.astype(np.uint16).tobytes()
    for name, value in tags.items():
        setattr(part, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    part.save_as(path, enforce_file_format=True)


def write_series(folder: Path, volume: np.ndarray, **tags: object) -> None:
    """Axial slices (D, H, W), 3 mm apart from z = -6, in files whose names say nothing of order."""
    for number, stored in enumerate(volume):
        name = f"{(number * 7) % 10}.dcm" if "named" not in tags else f"I{number}"
        rest = {key: value for key, value in tags.items() if key != "named"}
        write_slice(folder / name, stored, (0.0, 0.0, -6.0 + 3.0 * number), **rest)
