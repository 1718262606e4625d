"""Masks of new images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from llm4seg_probe.cli.output import Json, Out, emit_json, say


def predict(
    ckpt: Annotated[Path, typer.Option("--ckpt", help="The run.pt.")],
    images: Annotated[
        Path, typer.Option("--images", help="An image, a folder of images, or a DICOM series.")
    ],
    out: Out = Path("reports/predict"),
    modality: Annotated[
        str | None,
        typer.Option("--modality", help="ct, mr or photo; by default what the images say."),
    ] = None,
    overlays: Annotated[
        bool, typer.Option("--overlays", help="PNGs of the images with the masks' outlines, too.")
    ] = False,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="The probability of each class, too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Masks of new images, in the images' own grid and format.

    Pictures give PNG; NIfTI, NRRD and MetaImage give the same with the same place in space; a
    folder with a DICOM series gives one NIfTI file.
    """
    from llm4seg_probe.study.single.predict import predict_images

    assert out is not None
    found = predict_images(
        ckpt, images, out, modality=modality, overlays=overlays, probabilities=probabilities
    )
    if as_json:
        emit_json({"out": out, "predictions": [vars(prediction) for prediction in found]})
        return
    for prediction in found:
        pixels = ", ".join(f"{name} {count}" for name, count in prediction.pixels.items())
        say(f"{prediction.image} -> {', '.join(map(str, prediction.masks))} (pixels: {pixels})")


COMMANDS: dict[str, Callable[..., None]] = {"predict": predict}
