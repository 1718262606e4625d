"""Data sets: what there is, prepared, checked, split, generated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from llm4seg_probe.cli.options import Json, Out, Pseudonyms, emit_json, names, records, say

DataSet = Annotated[str, typer.Argument(help="A folder, or a name of `data list`.")]
Classes = Annotated[
    str, typer.Option("--classes", help="Names of the mask's classes, separated by commas.")
]
Distance = Annotated[
    int,
    typer.Option(help="Bits of 256 in which hashes of near-duplicates differ at most."),
]

_SHOWN = 40
"""Findings of `data check` that are printed; the table has all of them."""


def list_data(as_json: Json = False) -> None:
    """Each data set with its source, licence and size, and whether it is here."""
    from llm4seg_probe.data.datasets import catalogue, catalogue_table

    if as_json:
        emit_json({"data": records(catalogue_table())})
        return
    for entry in catalogue():
        say(f"{entry.name}: {entry.summary}")
        say(f"  source:  {entry.source}")
        say(f"  licence: {entry.licence}")
        say(f"  size:    {entry.size}")
        say(f"  {'here' if entry.here else f'not here: {entry.needs}'}")
        say(f"  {entry.note}\n")


def prepare_data(
    name: Annotated[str, typer.Argument(help="busi, tnscui, isic2018, kvasir or btcv.")],
    source: Annotated[
        Path, typer.Argument(help="The archive of its page, or the folder unpacked from it.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder to write; the cache, to be opened by name, without it."),
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(
            "--include",
            help="Images that are left out otherwise: normal (busi), validation or test "
            "(isic2018). May be repeated.",
        ),
    ] = None,
    longest_side: Annotated[
        int | None,
        typer.Option(
            "--longest-side",
            help="Store larger pictures smaller, at so many pixels on the longer side.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Bring a data set of the paper from its archive into one documented layout."""
    from llm4seg_probe.data.prepare.build import prepare

    collection, folder = prepare(
        name, source, out, include=tuple(include or ()), longest_side=longest_side
    )
    opened_as = name if out is None else str(folder)
    if as_json:
        emit_json(
            {
                "name": name,
                "folder": folder,
                "data_name": opened_as,
                "images": len(collection.samples),
                "classes": list(collection.classes),
                "fingerprint": collection.fingerprint,
                "note": collection.note,
            }
        )
        return
    say(f"{name}: {collection.note}")
    say(f"licence: {collection.licence}")
    say(f"classes: {', '.join(collection.classes)}")
    say(f"written to {folder}; train on it with data.name={opened_as}")


def check(
    data: DataSet,
    split: Annotated[
        str | None,
        typer.Option("--split", help="A way to split, or a stored split: leaks are looked for."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of a split that is drawn.")] = 0,
    classes: Classes = "foreground",
    duplicate_distance: Distance = 32,
    pseudonyms: Pseudonyms = False,
    out: Out = Path("reports/check"),
    as_json: Json = False,
) -> None:
    """Look for what would make training wrong: a table, a contact sheet, exit 2 if it would."""
    from llm4seg_probe.results import sets

    assert out is not None
    found = sets.check(
        data, classes=names(classes), split=split, seed=seed, distance=duplicate_distance,
        pseudonyms=pseudonyms,
    )  # fmt: skip
    table, *sheets = found.save(out)
    (about,) = records(found.summary)
    if as_json:
        findings = [asdict(finding) for finding in found.findings]
        emit_json({**about, "table": table, "sheets": sheets, "findings": findings})
    else:
        for sentence in found.sentences[:_SHOWN]:
            say(sentence)
        if len(found.findings) > _SHOWN:
            say(f"… and {len(found.findings) - _SHOWN} more in the table")
        say(
            f"{about['dataset']}: {about['readable']} of {about['images']} images can be read; "
            f"errors: {found.errors}, warnings: {found.warnings}"
        )
        for label, path in (("table", table), *(("sheet", path) for path in sheets)):
            say(f"The {label}: {path}")
    if found.errors:
        raise typer.Exit(2)


def split(
    data: DataSet,
    kind: Annotated[
        str, typer.Option(help="groups (stratified by size), cases, blocks, reference or own.")
    ] = "groups",
    folds: Annotated[
        int | None, typer.Option(help="As many splits, whose test sides partition the set.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed draws another split.")] = 0,
    group_duplicates: Annotated[
        bool, typer.Option("--group-duplicates", help="Keep near-duplicates on one side.")
    ] = False,
    classes: Classes = "foreground",
    duplicate_distance: Distance = 32,
    out: Out = Path("reports/split"),
    as_json: Json = False,
) -> None:
    """Draw train, validation and test, or k folds, and store them for `data.split`."""
    from llm4seg_probe.data.quality import side_counts
    from llm4seg_probe.results import sets

    assert out is not None
    drawn = sets.split(
        data, classes=names(classes), kind=kind, folds=folds, seed=seed,
        group_duplicates=group_duplicates, distance=duplicate_distance,
    )  # fmt: skip
    found = drawn.found
    paths = dict(zip(found.splits, drawn.save(out), strict=True))
    if as_json:
        splits = {str(paths[name]): split.to_dict() for name, split in found.splits.items()}
        emit_json({"splits": splits, "clusters": found.clusters})
        return
    if group_duplicates:
        say(f"{len(found.clusters)} clusters of near-duplicates are kept together")
    for name, split in found.splits.items():
        say(
            f"{paths[name]}: {side_counts(found.collection, split)} "
            f"(fingerprint {split.fingerprint[:12]})"
        )
        for caveat in split.caveats:
            say(f"  {caveat}")
    say(f"Train on it with data.split={next(iter(paths.values()))}")


def phantoms(
    kind: Annotated[
        str | None,
        typer.Option(help="texture, context, shape, presence, noise or size; none: all of them."),
    ] = None,
    count: Annotated[int | None, typer.Option(help="Images; 240 in 2D, 60 in 3D.")] = None,
    size: Annotated[
        str | None, typer.Option(help="Pixels, such as 96x96, or 48x48x48 (depth first).")
    ] = None,
    three_dimensional: Annotated[
        bool, typer.Option("--three-dimensional", help="Volumes, of 48x48x48 unless --size says.")
    ] = False,
    dial: Annotated[
        float | None,
        typer.Option(
            help="noise: contrast to noise (1.5; 0 shows nothing); size: radius in pixels (2)."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed draws other images.")] = 0,
    out: Out = Path("reports/phantoms"),
    as_json: Json = False,
) -> None:
    """Write generated images with a known truth: one kind to --out, or all to its folders."""
    from llm4seg_probe.data.phantoms import PHANTOMS, size_of, write_phantoms

    assert out is not None
    pixels, usual = size_of(size, three_dimensional)
    folders = {out: kind} if kind else {out / name: name for name in PHANTOMS}
    images = usual if count is None else count
    written = {
        folder: write_phantoms(folder, name, images, size=pixels, seed=seed, dial=dial)
        for folder, name in folders.items()
    }
    if as_json:
        rows = [
            {
                "folder": folder,
                "name": collection.name,
                "images": len(collection.samples),
                "note": collection.note,
            }
            for folder, collection in written.items()
        ]
        emit_json({"sets": rows})
        return
    for folder, collection in written.items():
        say(f"{folder}: {len(collection.samples)} images. {collection.note}")


COMMANDS: dict[str, Callable[..., None]] = {
    "list": list_data,
    "prepare": prepare_data,
    "check": check,
    "split": split,
    "phantoms": phantoms,
}
