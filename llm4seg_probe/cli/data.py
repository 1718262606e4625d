"""Data sets: what there is, prepared, checked, split, generated."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llm4seg_probe.cli.output import Json, emit_json, records, say


def list_data(as_json: Json = False) -> None:
    """Each data set with its source, licence and size, and whether it is here."""
    from llm4seg_probe.data.catalogue import catalogue, catalogue_table

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
    from llm4seg_probe.data.preparing.building import prepare

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


COMMANDS = {"list": list_data, "prepare": prepare_data}
