"""Data sets: what there is, prepared, checked, split, generated."""

from __future__ import annotations

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
        later = f"a download of {entry.download_mb:.0f} MB" if entry.download_mb else "generated"
        say(f"  {'here' if entry.here else f'not here yet: {later}'}")
        say(f"  {entry.note}\n")


COMMANDS = {"list": list_data}
