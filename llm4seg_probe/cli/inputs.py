"""Probes of what the input does: attribution, effective receptive field, robustness."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llm4seg_probe.cli.output import (
    Checkpoints,
    Data,
    Json,
    Out,
    SplitSide,
    checkpoints,
    names,
    print_probe,
)


def attribute(
    ckpt: Checkpoints,
    sites: Annotated[
        str,
        typer.Option(
            "--sites",
            "--site",
            help="Places to attribute to, separated by commas; input: the image.",
        ),
    ] = "input",
    methods: Annotated[
        str,
        typer.Option(
            "--methods",
            "--method",
            help="integrated-gradients, conductance, gradcam, occlusion, separated by commas.",
        ),
    ] = "integrated-gradients,occlusion",
    target: Annotated[
        str,
        typer.Option(help="What is explained: the mean logit over the prediction or the mask."),
    ] = "prediction",
    baseline: Annotated[
        str, typer.Option(help="The image that stands for nothing: zero (normalised) or mean.")
    ] = "zero",
    steps: Annotated[int, typer.Option(min=1, help="Steps of the integral.")] = 128,
    window: Annotated[int, typer.Option(min=1, help="Side of what is occluded, in pixels.")] = 8,
    images: Annotated[int, typer.Option(min=1, help="How many images are explained.")] = 6,
    data: Data = None,
    split: SplitSide = "test",
    out: Out = Path("reports/attribute"),
    as_json: Json = False,
) -> None:
    """Which places the answer rests on (captum), against the mask: table, maps and figures."""
    from llm4seg_probe.probing.explanations import Options
    from llm4seg_probe.study.single.attribute import attribute_runs

    assert out is not None
    found = attribute_runs(
        checkpoints(ckpt),
        out,
        sites=names(sites),
        methods=names(methods),
        options=Options(target, baseline, steps, window),
        split=split,
        data=data,
        images=images,
    )
    print_probe(found, as_json)


def field(
    ckpt: Checkpoints,
    sites: Annotated[
        str,
        typer.Option("--sites", "--site", help="Whose centre is looked at, separated by commas."),
    ] = "logits",
    images: Annotated[int, typer.Option(min=1, help="How many images are averaged.")] = 48,
    data: Data = None,
    split: SplitSide = "test",
    out: Out = Path("reports/field"),
    as_json: Json = False,
) -> None:
    """Effective receptive field of the centre, with and without the layer: table and figure."""
    from llm4seg_probe.study.single.field import field_runs

    assert out is not None
    found = field_runs(
        checkpoints(ckpt), out, sites=names(sites), split=split, data=data, images=images
    )
    print_probe(found, as_json)


def robustness(
    ckpt: Checkpoints,
    corruptions: Annotated[
        str,
        typer.Option(
            help="noise, blur, contrast, jpeg, resolution, separated by commas; all unless given."
        ),
    ] = "",
    data: Data = None,
    split: SplitSide = "test",
    out: Out = Path("reports/robustness"),
    as_json: Json = False,
) -> None:
    """Scores on worse images at five strengths, the same images for all runs."""
    from llm4seg_probe.study.single.robustness import robustness_runs

    assert out is not None
    found = robustness_runs(
        checkpoints(ckpt), out, corruptions=names(corruptions), split=split, data=data
    )
    print_probe(found, as_json)


COMMANDS = {"attribute": attribute, "field": field, "robustness": robustness}
