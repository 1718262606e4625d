import io

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from llm4seg_probe.data import near_duplicates as module
from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.data.near_duplicates import (
    BITS,
    DISTANCE,
    Cluster,
    clusters_of,
    near_duplicates,
    perceptual_hash,
)
from llm4seg_probe.data.phantoms import phantom, write_phantoms
from llm4seg_probe.errors import DataError


def differing(a: np.ndarray, b: np.ndarray) -> int:
    """Bits in which two hashes differ, counted one by one."""
    return sum(bin(int(x) ^ int(y)).count("1") for x, y in zip(a, b, strict=True))


def scene(seed: int) -> np.ndarray:
    """A smooth random picture (240, 300), 8-bit."""
    pixels = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((240, 300)), 9)
    return np.asarray(255 * (pixels - pixels.min()) / np.ptp(pixels)).astype(np.uint8)


def jpeg(pixels: np.ndarray) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=30)
    return np.asarray(Image.open(stream))


def smaller(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize((128, 96)))


def callipers(pixels: np.ndarray) -> np.ndarray:
    """Two crosses and a line of text, as scanners draw them."""
    picture = Image.fromarray(pixels)
    pen = ImageDraw.Draw(picture)
    for x, y in ((80, 120), (200, 140)):
        pen.line((x - 6, y, x + 6, y), fill=255)
        pen.line((x, y - 6, x, y + 6), fill=255)
    pen.text((10, 220), "D1 12.4 mm", fill=255)
    return np.asarray(picture)


COPIES = {
    "jpeg": jpeg,
    "smaller": smaller,
    "callipers": callipers,
    "brighter": lambda pixels: pixels * 0.7 + 60,
    "gamma": lambda pixels: 255 * (pixels / 255) ** 0.8,
    "noise": lambda pixels: pixels + np.random.default_rng(0).normal(0, 8, pixels.shape),
    "crop": lambda pixels: pixels[3:-3, 3:-3],
    "colour": lambda pixels: pixels[None].repeat(3, axis=0),
}


@pytest.mark.parametrize("name", COPIES)
def test_altered_copies_are_near_and_other_images_far(name):
    hashes, copies = [], []
    for seed in range(12):
        changed = np.asarray(COPIES[name](scene(seed)), np.float32)
        hashes.append(perceptual_hash(scene(seed)[None].astype(np.float32)))
        copies.append(perceptual_hash(changed if changed.ndim == 3 else changed[None]))
    assert max(differing(a, b) for a, b in zip(hashes, copies, strict=True)) <= DISTANCE
    others = [differing(a, b) for i, a in enumerate(hashes) for b in copies[i + 1 :]]
    assert min(others) > 2 * DISTANCE
    assert np.mean(others) == pytest.approx(BITS / 2, abs=4)


def test_half_of_the_bits_are_set_and_volumes_have_as_many():
    plane = perceptual_hash(scene(0)[None].astype(np.float32))
    volume = np.stack([scene(seed)[::4, ::4] for seed in range(10)])[None].astype(np.float32)
    for found in (plane, perceptual_hash(volume)):
        assert found.shape == (4,)
        assert found.dtype == np.uint64
        assert differing(found, np.zeros(4, np.uint64)) == (BITS - 1) // 2
    assert differing(perceptual_hash(volume), perceptual_hash(volume * 0.5 + 3)) <= 2
    assert differing(perceptual_hash(volume), perceptual_hash(volume[:, ::-1].copy())) > 64


def twin(hashes: np.ndarray, units: list[str], distance: int) -> set[frozenset[int]]:
    """Clusters by growing each from its first image, with no blocks and no sparse matrices."""
    left, found = set(range(len(hashes))), set()
    while left:
        cluster, edge = set(), {min(left)}
        while edge:
            cluster |= edge
            edge = {
                j
                for i in edge
                for j in left - cluster
                if units[i] != units[j] and differing(hashes[i], hashes[j]) <= distance
            }
        left -= cluster
        if len(cluster) > 1:
            found.add(frozenset(cluster))
    return found


@pytest.mark.parametrize("rows", [7, 256])
def test_clusters_agree_with_a_slow_twin(rows, monkeypatch):
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", rows)
    draw = np.random.default_rng(0)
    bits = draw.integers(0, 2, (60, BITS)).astype(bool)
    for copy, of, flips in [(40, 3, 0), (41, 3, 30), (42, 41, 30), (50, 12, 32), (51, 13, 33)]:
        bits[copy] = bits[of]
        bits[copy, draw.permutation(BITS)[:flips]] ^= True
    hashes = np.packbits(bits, axis=1).view(np.uint64)
    units = [str(i) for i in range(60)]
    for those in (units, [str(i // 2) for i in range(60)], ["same"] * 60):
        found = near_duplicates(hashes, those)
        assert {frozenset(cluster.members) for cluster in found} == twin(hashes, those, DISTANCE)
    # A chain of three links, then a pair at the threshold; 33 bits are too many.
    first, second = near_duplicates(hashes, units)
    assert first == Cluster((3, 40, 41, 42), 0)
    assert second == Cluster((12, 50), 32)


def test_no_hashes_have_no_clusters():
    assert near_duplicates(np.zeros((0, 4), np.uint64), []) == []


def test_distances_that_link_everything_are_refused():
    for distance in (-1, 128):
        with pytest.raises(DataError, match=f"in at most {distance} of 256 bits: choose 0 to 127"):
            near_duplicates(np.zeros((2, 4), np.uint64), ["a", "b"], distance)


def test_copies_in_a_folder_are_found(tmp_path):
    folder = tmp_path / "set"
    write_phantoms(folder, "context", 8, size=(64, 64))
    image = Image.open(folder / "images" / "context-0002.png")
    image.resize((100, 100)).save(folder / "images" / "context-0006.png")
    mask = Image.open(folder / "masks" / "context-0002.png")
    mask.resize((100, 100)).save(folder / "masks" / "context-0006.png")
    Image.new("L", (64, 64), 9).save(folder / "images" / "context-0001.png")
    Image.new("L", (64, 64), 9).save(folder / "images" / "context-0003.png")
    (folder / "dataset.json").unlink()
    collection = open_collection(str(folder))
    # Images of one grey level have no hash.
    assert clusters_of(collection) == (("context-0002", "context-0006"),)


@pytest.mark.parametrize("kind", ["texture", "context", "shape", "noise", "size"])
def test_phantoms_are_no_copies_of_each_other(kind):
    drawn = [perceptual_hash(phantom(kind, i)[0][None]) for i in range(60)]
    assert near_duplicates(np.stack(drawn), [str(i) for i in range(60)]) == []
