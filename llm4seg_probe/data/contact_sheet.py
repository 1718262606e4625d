"""Contact sheets: many small images with the outlines of their masks, on one picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from llm4seg_probe.data.collection import Collection, RawImage
from llm4seg_probe.randomness import address

LARGEST = 60
"""Images that one sheet shows at most."""
COLUMNS, CELL, CAPTION, GAP = 10, 150, 28, 6
"""Images in a row, and pixels: side of an image, height of its caption, space between."""
OUTLINES = ((255, 196, 0), (0, 200, 255), (255, 80, 160), (120, 230, 80), (200, 140, 255))
"""Colours of the classes' outlines, in turn."""
_PAPER, _INK = (255, 255, 255), (20, 20, 20)


def chosen(images: Sequence[str], first: Sequence[str] = (), seed: int = 0) -> tuple[str, ...]:
    """At most ``LARGEST`` of the images, in their order: those in ``first``, then drawn ones."""
    wanted = [image for image in dict.fromkeys(first) if image in set(images)][:LARGEST]
    others = [image for image in images if image not in set(wanted)]
    draw = np.random.default_rng(address(seed, "contact-sheet"))
    order = draw.permutation(len(others))[: LARGEST - len(wanted)]
    shown = {*wanted, *(others[i] for i in order)}
    return tuple(image for image in images if image in shown)


def sheet_of(
    collection: Collection,
    images: Sequence[str],
    captions: Mapping[str, str],
    called: Callable[[str], str] = str,
) -> Image.Image:
    """Draw images that can be read, row by row, each over its name and its caption.

    ``called`` gives what stands there for the name of an image. Volumes are shown by the axial
    slice with the most foreground.
    """
    rows = -(-len(images) // COLUMNS)
    columns = min(COLUMNS, len(images))
    width, height = CELL + GAP, CELL + CAPTION + GAP
    sheet = Image.new("RGB", (GAP + columns * width, GAP + rows * height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(10)
    for number, name in enumerate(images):
        left, top = GAP + number % COLUMNS * width, GAP + number // COLUMNS * height
        cell = outlined(collection.read(collection.sample(name)))
        sheet.paste(cell, (left + (CELL - cell.width) // 2, top + (CELL - cell.height) // 2))
        for line, text in enumerate((called(name), captions.get(name, ""))):
            place = (left, top + CELL + 2 + 12 * line)
            pen.text(place, _fitting(text, font), fill=_INK, font=font)
    return sheet


def outlined(raw: RawImage, side: int = CELL) -> Image.Image:
    """The image as 8-bit colours in a square of ``side`` pixels, with its masks' outlines."""
    pixels, mask = raw.image, raw.mask
    if pixels.ndim == 4:
        amount = mask.any(axis=0).sum(axis=(1, 2))
        best = int(amount.argmax()) if amount.any() else pixels.shape[1] // 2
        pixels, mask = pixels[:, best], mask[:, best]
    grey = _scaled(pixels[:3] if pixels.shape[0] >= 3 else pixels[:1].repeat(3, axis=0), raw)
    scale = side / max(grey.shape[1:])
    size = tuple(max(1, round(length * scale)) for length in grey.shape[:0:-1])
    picture = Image.fromarray(np.moveaxis(grey, 0, -1)).resize(size, Image.Resampling.BILINEAR)
    drawn = np.array(picture)
    for number, plane in enumerate(mask):
        inside = np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.NEAREST))
        edge = inside & ~ndimage.binary_erosion(inside, border_value=0)
        drawn[edge] = OUTLINES[number % len(OUTLINES)]
    return Image.fromarray(drawn)


def _scaled(pixels: np.ndarray, raw: RawImage) -> np.ndarray:
    """Photographs as they are; anything else from its first to its 99th percentile."""
    low, high = (0.0, 255.0) if raw.modality == "photo" else np.percentile(pixels, (1, 99))
    return np.asarray(((pixels - low) / max(high - low, 1e-6)).clip(0, 1) * 255).astype(np.uint8)


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The text, its middle left out where it is wider than a cell."""
    kept = len(text)
    shown = text
    while font.getlength(shown) > CELL and kept > 2:
        kept -= 1
        shown = f"{text[: kept // 2]}…{text[len(text) - kept // 2 :]}"
    return shown
