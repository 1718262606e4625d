"""A checkpoint of the reference implementation as one of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llm4seg_probe.cli.output import Json, emit_json, say


def convert(
    reference: Annotated[
        Path,
        typer.Argument(
            metavar="REFERENCE.pth", help="Checkpoint of the published code: its state dict."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="run.pt", help="File to write.")],
    arm: Annotated[
        str | None,
        typer.Option(
            "--arm",
            help="What the checkpoint does not say: llm (the default with a layer), "
            "llm-trainable, transformer or random-frozen.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """A checkpoint of the reference implementation into a run that every probe opens."""
    from llm4seg_probe.training.conversion import convert as convert_checkpoint

    found = convert_checkpoint(reference, out, arm)
    config = found.config
    layered = config.arm != "cnn"
    if as_json:
        emit_json(
            {
                "checkpoint": found.path,
                "arm": config.arm,
                "source": config.booster.source if layered else None,
                "layer": config.booster.layer if layered else None,
                "parameters": found.parameters,
                "trainable": found.trainable,
            }
        )
        return
    what = f"layer {config.booster.layer} of {config.booster.source}" if layered else "no layer"
    say(f"Arm {config.arm}, {what}; {found.parameters:,} parameters, {found.trainable:,} trained.")
    say("It does not say which images it was trained on: add --data FOLDER to probe it.")
    say(f"The run: {found.path}")


COMMANDS = {"convert": convert}
