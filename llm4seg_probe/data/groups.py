"""Groups of images: tables of them matched to images by name, and patients in the files.

What a table or a DICOM file states is used; what only the names suggest is asked about.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from llm4seg_probe.data import dicom_series
from llm4seg_probe.data.collection import Collection, Sample
from llm4seg_probe.data.findings import Finding
from llm4seg_probe.data.names import Matcher, alike, normal
from llm4seg_probe.errors import DataError

KIND = "groups"
GROUP, IMAGE = "group", "image"
_PATIENT = ("patient", "patientid", "subject", "subjectid", "participant", "participantid",
            "patientname", "patientnr", "patientno", "patientnumber", "pid", "pat", "patid", "pt",
            "ptid", "mrn", "person", "personid", "patienten", "patientenid", "patientennr", "case",
            "caseid")  # fmt: skip
_BLANK = frozenset(
    (
        "na", "n/a", "nan", "none", "null", "unknown", "-", "–", "?", "missing", "unbekannt",
        "inconnu", "sconosciuto", "desconocido",
    )
)  # fmt: skip
"""Cells that say that the patient is not known, in lower case."""
_IMAGES = ("imagename", "imageid", "imagefile", "file", "filename", "name")
_FALSE_ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}(\.gz)?$")
_CHANNEL = re.compile(r"_\d{4}$")
_BIDS = re.compile(r"(sub-[A-Za-z0-9]+)(?:[_\-. ].*)")
_NUMBERED = re.compile(
    r"((?:patient|pat|subject|subj|sub|person|case|volunteer|pt|p|s)[_\- ]?\d+)[_\-. ].+",
    re.IGNORECASE,
)
_REPEATED = re.compile(
    r"(.+?)(?:[_\-. ](?:frame|slice|view|visit|ses|session|scan|time|tp|baseline|followup|pre|post|"
    r"left|right|ed|es|od|os|l|r|img|image|z|t|v|a|b|crop|patch|tile|window|roi|row|col|[xyrc](?=\d)|"
    r"[lr]?(?:cc|mlo|ml|lm|lmo|xccl?)|ap|pa|lat|[xr]\d+[yc])[_\-]?\d*)+",
    re.IGNORECASE,
)
"""A name with what tells apart several images of one: times, sides, views, places of crops."""
_WRITE = "name the patients in groups.csv (image, group)"

Rows = dict[str, dict[str, str]]


def column_of_groups(columns: Iterable[str]) -> str | None:
    """The column that says whose an image is: ``group``, else patient, subject or case."""
    return next(iter(columns_of_groups(columns)), None)


def columns_of_groups(columns: Iterable[str]) -> list[str]:
    """All columns that may say whose an image is, the one that counts first."""
    known = {re.sub(r"[\s_\-]", "", name.lower()): name for name in reversed(list(columns))}
    return [known[name] for name in (GROUP, *_PATIENT) if name in known]


def other_patients(rows: Sequence[Mapping[Any, str]], path: Path) -> Iterator[Finding]:
    """Findings on further columns of patients that group the rows otherwise than the first."""
    columns = columns_of_groups(map(str, rows[0])) if rows else []
    column = columns[0] if columns else ""
    for other in columns[1:]:
        pairs = {
            (alike(row[column]), alike(row[other])): (row[column], row[other])
            for row in rows
            if _is_known(row[column]) and _is_known(row[other])
        }
        groups_of: dict[str, list[str]] = defaultdict(list)
        for (_, patient), (written, _) in pairs.items():
            groups_of[patient].append(written)
        parted = {patient: groups for patient, groups in groups_of.items() if len(groups) > 1}
        said = f"{path.name}: the columns '{column}' and '{other}' say different things"
        if parted:
            patient, groups = next(iter(parted.items()))
            what = f"{said}: {other} '{patient}' is in {' and in '.join(groups[:3])}"
            advice = f"'{column}' is taken, and a split may part such a {other}: mend one column"
            yield Finding("warning", KIND, (), f"{what} ({len(parted)} such in all)", advice)
        elif len(pairs) > len({group for group, _ in pairs}):
            what = f"{said}: several of '{other}' are in one {column}"
            advice = f"'{column}' is taken; take that column out if '{other}' is meant"
            yield Finding("note", KIND, (), what, advice)


def _is_known(cell: str) -> bool:
    return bool(cell) and cell.strip().lower() not in _BLANK


def column_of_images(columns: Iterable[str]) -> str | None:
    """The column that names the images: ``image``, else a name that means the same."""
    known = {re.sub(r"[\s_\-]", "", name.lower()): name for name in reversed(list(columns))}
    return next((known[name] for name in (IMAGE, *_IMAGES) if name in known), None)


def matched(
    table: Sequence[Mapping[str, str]], images: Iterable[str], path: Path, endings: Sequence[str]
) -> tuple[Rows, list[Finding]]:
    """Rows of a table by the image that each means, and what was left on either side.

    The column of the group is called ``group`` in the rows that come back. Raises DataError where
    two rows say different things of one image.
    """
    names = list(images)
    finder = Matcher(names)
    columns = list(table[0]) if table else []
    image_column, group_column = column_of_images(columns), column_of_groups(columns)
    if image_column is None or group_column is None:
        lacking = "image" if image_column is None else "group"
        raise DataError(f"{path}: lacks the columns {lacking}; it has {', '.join(columns)}")
    found: Rows = {}
    strangers: list[str] = []
    for row in table:
        image = _meant(row[image_column], finder, endings)
        if image is None:
            strangers.append(row[image_column])
            continue
        group = row[group_column] if _is_known(row[group_column]) else ""
        known = {**row, GROUP: group, IMAGE: image}
        if found.get(image, known)[GROUP] != known[GROUP]:
            raise DataError(
                f"{path}: the image '{image}' is in two groups, '{found[image][GROUP]}' and "
                f"'{known[GROUP]}'"
            )
        found[image] = known
    left = _left_over(path, names, found, strangers, group_column)
    return found, [*left, *other_patients(table, path)]


def _meant(written: str, finder: Matcher, endings: Sequence[str]) -> str | None:
    """The image that a cell names: with or without folder, suffix, channel, ending of a mask."""
    last = normal(written).replace("\\", "/").rsplit("/", 1)[-1]
    tried = [normal(written), last]
    for name in (last, _FALSE_ENDING.sub("", last)):
        tried += [name, _CHANNEL.sub("", name)]
        tried += [name[: -len(end)] for end in endings if name.lower().endswith(end)]
    return next((found for name in tried if (found := finder.find(name)) is not None), None)


def _left_over(
    path: Path, names: list[str], found: Rows, strangers: list[str], column: str
) -> list[Finding]:
    without = tuple(name for name in names if name not in found)
    blank = tuple(name for name in names if name in found and not found[name][GROUP])
    left = []
    if strangers:
        rows = ", ".join(f"'{name}'" for name in strangers[:3])
        more = f" and {len(strangers) - 3} more" if len(strangers) > 3 else ""
        what = f"{path.name}: {len(strangers)} row(s) name no image of the set: {rows}{more}"
        advice = "Write the images' own names, so that no patient is parted"
        left.append(Finding("error" if without else "warning", KIND, (), what, advice))
    if without:
        what = (
            f"{path.name}: {len(without)} image(s) have no row and count as patients of their own"
        )
        left.append(Finding("warning", KIND, without, what, "Add their rows"))
    if blank:
        what = (
            f"{path.name}: {len(blank)} image(s) have an empty {column} and count as patients of "
        )
        left.append(
            Finding("warning", KIND, blank, f"{what}their own", "Fill the cells, if it is known")
        )
    if column != GROUP:
        what = f"{path.name}: the column '{column}' says whose an image is"
        left.append(Finding("note", KIND, (), what, "Call it 'group' to say so yourself"))
    return left


def with_patients(collection: Collection) -> Collection:
    """The collection with groups that are alike as one, and patients that DICOM files state.

    What that changed, and what the names of images suggest, is added to ``noticed``.
    """
    samples, noticed = _merged(collection.samples)
    samples, found = _by_patient_id(samples)
    noticed += found
    if not found:
        noticed += _asked(samples)
    return replace(collection, samples=samples, noticed=(*collection.noticed, *noticed))


def _merged(samples: tuple[Sample, ...]) -> tuple[tuple[Sample, ...], list[Finding]]:
    """Groups, and texts of ``together``, that differ in case, spaces, dashes or ``.0`` only."""
    noticed: list[Finding] = []
    for column in (GROUP, "together"):
        spelled: dict[str, dict[str, None]] = defaultdict(dict)
        for sample in samples:
            text = getattr(sample, column)
            if text and (column != GROUP or text != sample.image):
                spelled[alike(text)][text] = None
        first = {key: next(iter(texts)) for key, texts in spelled.items()}
        samples = tuple(_respelled(sample, column, first) for sample in samples)
        for texts in spelled.values():
            if len(texts) > 1:
                what = f"{' and '.join(repr(text) for text in texts)} are taken as one {column}"
                noticed.append(
                    Finding("warning", KIND, (), what, "Write them alike, or rename one of them")
                )
    return samples, noticed


def _respelled(sample: Sample, column: str, first: Mapping[str, str]) -> Sample:
    """The sample with the first spelling of its group, or of its ``together``."""
    text = str(getattr(sample, column))
    if not text or text == sample.image:
        return sample
    spelling = first.get(alike(text), text)
    if column == GROUP:
        return replace(sample, group=spelling)
    return replace(sample, together=spelling)


def _by_patient_id(samples: tuple[Sample, ...]) -> tuple[tuple[Sample, ...], list[Finding]]:
    """Groups by DICOM's PatientID where no table states any; else where the two disagree."""
    known = {
        sample.image: patient
        for sample in samples
        if (patient := normal(dicom_series.patient_in(sample.image_file)))
    }
    several: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.image in known:
            several[alike(known[sample.image])].append(sample)
    shared = {patient: ones for patient, ones in several.items() if len(ones) > 1}
    if not shared:
        return samples, []
    if any(sample.unit != sample.image for sample in samples):
        parted = [ones for ones in shared.values() if len({one.unit for one in ones}) > 1]
        return samples, [
            Finding(
                "error",
                KIND,
                tuple(one.image for one in ones),
                "files of one PatientID are in several groups "
                f"({', '.join(sorted({one.unit for one in ones}))})",
                "Give them one group, or mend the PatientID",
            )
            for ones in parted
        ]
    images = tuple(known)
    spelled = {alike(known[image]): known[image] for image in reversed(images)}
    if len(several) == 1 and len(known) == len(samples):
        what = f"all files have one PatientID ('{known[images[0]]}'), as if of one patient"
        advice = f"It is not used: each image counts as a patient of its own. If not, {_WRITE}"
        return samples, [Finding("warning", KIND, (), what, advice)]
    grouped = tuple(
        replace(sample, group=spelled[alike(known[sample.image])])
        if sample.image in known
        else sample
        for sample in samples
    )
    what = f"{len(known)} images are of {len(several)} patients, by the PatientID of the files"
    return grouped, [Finding("note", KIND, images, what, f"If that is not so, {_WRITE}")]


def _asked(samples: tuple[Sample, ...]) -> list[Finding]:
    """Images of their own whose names look as if several were of one patient."""
    if len(samples) < 2 or any(sample.unit != sample.image for sample in samples):
        return []
    for pattern in (_BIDS, _NUMBERED, _REPEATED):
        found: dict[str, list[str]] = defaultdict(list)
        for sample in samples:
            match = pattern.fullmatch(sample.image)
            found[alike(match[1] if match else sample.image)].append(sample.image)
        several = [names for names in found.values() if len(names) > 1]
        if several:
            what = (
                f"the names look as if {sum(map(len, several))} images were of {len(several)} "
                f"patients ({', '.join(several[0][:3])}); each counts as a patient of its own"
            )
            return [Finding("warning", KIND, (), what, f"If some are of one patient, {_WRITE}")]
    return []
