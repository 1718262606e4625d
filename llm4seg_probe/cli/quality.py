"""Data sets before training: checked, split, generated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from llm4seg_probe.cli.output import Json, Out, emit_json, say

DataSet = Annotated[str, typer.Argument(help="A folder, or a name of `data list`.")]
Classes = Annotated[
    str, typer.Option("--classes", help="Names of the mask's classes, separated by commas.")
]
Distance = Annotated[
    int,
    typer.Option(help="Bits of 256 in which hashes of near-duplicates differ at most."),
]


def check(
    data: DataSet,
    split: Annotated[
        str | None,
        typer.Option("--split", help="A way to split, or a stored split: leaks are looked for."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of a split that is drawn.")] = 0,
    classes: Classes = "foreground",
    duplicate_distance: Distance = 32,
    out: Out = Path("reports/check"),
    as_json: Json = False,
) -> None:
    """Look for what would make training wrong: a table, a contact sheet, exit 2 if it would."""
    from llm4seg_probe.study.data_quality import check_data

    assert out is not None
    found = check_data(
        data, out, classes=_names(classes), split=split, seed=seed, distance=duplicate_distance
    )
    findings, errors = found.checked.findings, found.checked.errors
    if as_json:
        emit_json(
            {
                "dataset": found.collection.name,
                "images": len(found.collection.samples),
                "readable": len(found.checked.readable),
                "errors": errors,
                "warnings": len(findings) - errors,
                "table": found.table,
                "sheets": found.sheets,
                "findings": [asdict(finding) for finding in findings],
            }
        )
    else:
        for finding in findings[:_SHOWN]:
            say(finding.sentence)
        if len(findings) > _SHOWN:
            say(f"… and {len(findings) - _SHOWN} more in the table")
        say(
            f"{found.collection.name}: {len(found.checked.readable)} of "
            f"{len(found.collection.samples)} images can be read; errors: {errors}, "
            f"warnings: {len(findings) - errors}"
        )
        for label, path in (("table", found.table), *(("sheet", path) for path in found.sheets)):
            say(f"The {label}: {path}")
    if errors:
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
    from llm4seg_probe.study.data_quality import side_counts, split_data

    assert out is not None
    found = split_data(
        data, out, classes=_names(classes), kind=kind, folds=folds, seed=seed,
        group_duplicates=group_duplicates, distance=duplicate_distance,
    )  # fmt: skip
    if as_json:
        splits = {str(path): split.to_dict() for path, split in found.splits.items()}
        emit_json({"splits": splits, "clusters": found.clusters})
        return
    if group_duplicates:
        say(f"{len(found.clusters)} clusters of near-duplicates are kept together")
    for path, drawn in found.splits.items():
        say(
            f"{path}: {side_counts(found.collection, drawn)} (fingerprint {drawn.fingerprint[:12]})"
        )
        for caveat in drawn.caveats:
            say(f"  {caveat}")
    say(f"Train on it with data.split={next(iter(found.splits))}")


def phantoms(
    kind: Annotated[
        str | None, typer.Option(help="texture, context, shape, noise or size; none: all of them.")
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
        typer.Option(help="noise: contrast to noise (1.5); size: radius in pixels (2)."),
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
            {"folder": folder, "name": found.name, "images": len(found.samples), "note": found.note}
            for folder, found in written.items()
        ]
        emit_json({"sets": rows})
        return
    for folder, found in written.items():
        say(f"{folder}: {len(found.samples)} images. {found.note}")


_SHOWN = 40


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


COMMANDS: dict[str, Callable[..., None]] = {"check": check, "split": split, "phantoms": phantoms}
