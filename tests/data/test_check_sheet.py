import numpy as np
import pytest
from PIL import Image

from llm4seg_probe.data.collection import RawImage
from llm4seg_probe.data.contact_sheet import (
    CAPTION,
    CELL,
    GAP,
    LARGEST,
    OUTLINES,
    chosen,
    outlined,
    sheet_of,
)
from llm4seg_probe.data.phantoms import write_phantoms


def raw(image: np.ndarray, mask: np.ndarray, modality: str = "photo") -> RawImage:
    return RawImage(image.astype(np.float32), mask.astype(bool), None, modality)


def test_the_outline_is_the_border_of_the_mask_and_nothing_else():
    image, mask = np.full((1, 50, 50), 90.0), np.zeros((2, 50, 50))
    mask[0, 10:30, 5:25] = 1
    mask[1, 40:44, 40:44] = 1
    drawn = np.asarray(outlined(raw(image, mask)))
    assert drawn.shape == (CELL, CELL, 3)
    expected = np.zeros((CELL, CELL), bool)
    expected[30:90, 15:75] = True
    expected[31:89, 16:74] = False
    np.testing.assert_array_equal((drawn == OUTLINES[0]).all(axis=-1), expected)
    assert (drawn == OUTLINES[1]).all(axis=-1).sum() == 4 * 12 - 4
    assert (drawn[60, 40] == 90).all()


def test_images_keep_their_shape_and_volumes_show_their_fullest_slice():
    flat = outlined(raw(np.zeros((3, 40, 80)), np.zeros((1, 40, 80))))
    assert flat.size == (CELL, CELL // 2)
    image, mask = np.zeros((1, 4, 30, 30)), np.zeros((1, 4, 30, 30))
    image[0, 2, 15, 15] = 1000
    mask[0, 1, 5, 5] = mask[0, 2, 10:20, 10:20] = 1
    drawn = np.asarray(outlined(raw(image, mask, "mr")))
    assert (drawn == OUTLINES[0]).all(axis=-1).any()
    assert drawn[75:80, 75:80].max() > 0


def test_at_most_sixty_images_are_shown_those_with_findings_first():
    names = [f"i{n:03d}" for n in range(200)]
    first = ("i150", "i007", "unread")
    shown = chosen(names, first)
    assert len(shown) == LARGEST
    assert {"i150", "i007"} <= set(shown)
    assert list(shown) == sorted(shown)
    assert chosen(names, first) == shown
    assert chosen(names, first, seed=1) != shown
    assert chosen(names, names[100:]) == tuple(names[100:160])
    assert chosen(names[:3]) == tuple(names[:3])


@pytest.mark.parametrize(("count", "columns", "rows"), [(3, 3, 1), (12, 10, 2)])
def test_a_sheet_has_a_cell_and_a_caption_for_each_image(tmp_path, count, columns, rows):
    collection = write_phantoms(tmp_path / "set", "size", count, size=(32, 40))
    names = [sample.image for sample in collection.samples]
    sheet_of(collection, names, {names[0]: "x" * 90}).save(tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as opened:
        sheet = np.asarray(opened)
    width, height = CELL + GAP, CELL + CAPTION + GAP
    assert sheet.shape == (GAP + rows * height, GAP + columns * width, 3)
    ink = (sheet < 60).all(axis=-1)
    for number in range(rows * columns):
        top, left = GAP + number // 10 * height, GAP + number % 10 * width
        name = ink[top + CELL : top + CELL + 14, left : left + CELL]
        caption = ink[top + CELL + 15 : top + CELL + CAPTION, left : left + CELL]
        assert name.any() == (number < count)
        assert caption.any() == (number == 0)
    # A caption that is too long is shortened to its cell.
    assert not ink[CELL + GAP : CELL + GAP + CAPTION, GAP + CELL : GAP + width].any()
