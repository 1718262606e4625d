"""Probes of what the features hold: attention, similarity, linear decoding, vocabulary lens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from llm4seg_probe.cli.output import (
    Checkpoints,
    Data,
    Json,
    Out,
    Sites,
    SplitSide,
    checkpoints,
    emit_json,
    names,
    print_probe,
    records,
    say,
)
from llm4seg_probe.errors import DataError


def attention(
    ckpt: Checkpoints,
    query: Annotated[
        str | None,
        typer.Option(
            help="Pixel from which the maps look: row,column (depth,row,column in 3D), from 0, in "
            "the image as the network sees it; the centre of the largest foreground region unless "
            "given."
        ),
    ] = None,
    data: Data = None,
    split: SplitSide = "test",
    out: Out = Path("reports/attention"),
    as_json: Json = False,
) -> None:
    """Where each head looks: distance, entropy, foreground, sinks, and maps from one pixel."""
    from llm4seg_probe.study.single.attention import attention_runs

    assert out is not None
    pixel = None if query is None else _pixel(query)
    found = attention_runs(checkpoints(ckpt), out, query=pixel, split=split, data=data)
    print_probe(found, as_json)


def similarity(
    ckpt: Checkpoints,
    data: Data = None,
    split: SplitSide = "test",
    sites: Sites = "before,after",
    images: Annotated[int, typer.Option(min=1, help="How many images are looked at.")] = 64,
    tokens: Annotated[
        int, typer.Option(min=4, help="How many tokens of a site over all images, at most about.")
    ] = 2048,
    out: Out = Path("reports/similarity"),
    as_json: Json = False,
) -> None:
    """How alike features are between sites, arms and seeds: CKA, Procrustes, cosine, heat maps."""
    from llm4seg_probe.study.single.similarity import similarity_runs

    assert out is not None
    found = similarity_runs(
        checkpoints(ckpt), out, sites=names(sites), split=split, data=data, images=images,
        tokens=tokens,
    )  # fmt: skip
    print_probe(found, as_json)


def decode(
    ckpt: Checkpoints,
    data: Data = None,
    split: Annotated[
        str, typer.Option(help="Side on which the probes are tested: test or val.")
    ] = "test",
    split_seed: Annotated[
        int, typer.Option(min=0, help="Of the division by groups of the images of --data.")
    ] = 0,
    sites: Sites = "before,after",
    images: Annotated[
        str, typer.Option(help="Numbers of training images to learn from, before all of them.")
    ] = "1,4,16",
    out: Out = Path("reports/decode"),
    as_json: Json = False,
) -> None:
    """How well a linear probe finds the foreground, against position and other images' masks."""
    from llm4seg_probe.study.single.decode import decode_runs

    assert out is not None
    found = decode_runs(
        checkpoints(ckpt), out, sites=names(sites), sizes=_counts(images), split=split, data=data,
        split_seed=split_seed,
    )  # fmt: skip
    print_probe(found, as_json)


def lens(
    ckpt: Checkpoints,
    data: Data = None,
    split: SplitSide = "test",
    sites: Sites = "layer",
    source: Annotated[
        str | None,
        typer.Option(help="Language model whose words are read; the run's own unless given."),
    ] = None,
    out: Out = Path("reports/lens"),
    as_json: Json = False,
) -> None:
    """Which words the tokens leaving the layer fall on, and whether that is more than noise."""
    from llm4seg_probe.study.single.lens import lens_runs

    assert out is not None
    found = lens_runs(
        checkpoints(ckpt), out, sites=names(sites), split=split, data=data, source=source
    )
    if as_json:
        emit_json(
            {
                "table": found.path,
                "words": found.words_path,
                "figures": found.figures,
                "sentences": found.sentences,
                "rows": records(found.table),
            }
        )
        return
    print_probe(found, as_json=False)
    say(f"The words: {found.words_path}")
    for sentence in found.sentences:
        say(sentence)


def _counts(text: str) -> tuple[int, ...]:
    """Whole numbers separated by commas. Raises DataError for what is none."""
    try:
        return tuple(int(part) for part in names(text))
    except ValueError as error:
        raise DataError(
            f"--images is '{text}': give numbers of training images, such as 1,4,16"
        ) from error


def _pixel(text: str) -> tuple[int, ...]:
    """Coordinates separated by commas. Raises DataError for what is none."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise DataError(
            f"--query is '{text}', not a pixel: give row,column, such as 48,48"
        ) from error


COMMANDS: dict[str, Callable[..., None]] = {
    "attention": attention,
    "similarity": similarity,
    "decode": decode,
    "lens": lens,
}
