import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from llm4seg_probe.config import DataConfig
from llm4seg_probe.data import phantom_kinds, phantoms
from llm4seg_probe.data.datasets import catalogue, open_collection
from llm4seg_probe.data.phantoms import PHANTOMS, phantom, write_phantoms
from llm4seg_probe.data.splits import split_of
from llm4seg_probe.errors import DataError


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum()) if (a | b).any() else 1.0


@pytest.mark.parametrize("size", [(96, 96), (48, 48, 48)], ids=["2d", "3d"])
@pytest.mark.parametrize("kind", PHANTOMS)
def test_the_oracle_reaches_what_is_stated(kind, size):
    chosen = PHANTOMS[kind]
    scores = []
    for index in range(30 if len(size) == 2 else 6):
        image, mask = phantom(kind, index, size=size)
        assert image.shape == mask.shape == size
        assert mask.mean() < 0.4
        assert mask.any() or kind == "presence"
        scores.append(iou(chosen.oracle(image, chosen.dial), mask))
    assert np.mean(scores) >= chosen.oracle_iou[len(size) - 2]


def test_half_of_the_images_of_presence_hold_a_ball():
    there = [phantom("presence", index)[1].any() for index in range(60)]
    assert 20 <= sum(there) <= 40


def test_every_kind_has_an_embedded_set_in_2d_and_3d():
    assert list(PHANTOMS) == ["texture", "context", "shape", "presence", "noise", "size"]
    usual = {f"phantoms-{kind}{end}" for kind in PHANTOMS for end in ("", "-3d")}
    dialled = {f"phantoms-noise-at-{dial}" for dial in ("0", "0.5", "3", "8")}
    assert set(phantoms.NAMES) == usual | dialled


def test_the_dial_of_noise_goes_from_none_of_the_signal_to_next_to_no_noise():
    found = {dial: phantom("noise", 4, dial=dial) for dial in (0.0, 0.5, 3.0, 8.0)}
    none, mask = found[0.0]
    for dial, (image, other) in found.items():
        np.testing.assert_array_equal(other, mask)  # the same place
        np.testing.assert_allclose(image - none, dial * mask, atol=1e-12)  # the same noise
    assert abs(none[mask].mean()) < 4 / np.sqrt(mask.sum())
    assert iou(PHANTOMS["noise"].oracle(found[8.0][0], 8.0), mask) > 0.97


def test_an_embedded_set_at_another_dial_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("LLM4SEG_PROBE_CACHE", str(tmp_path))
    monkeypatch.setattr(phantoms, "COUNT", 3)
    collection = open_collection("phantoms-noise-at-0")
    assert collection.name == "phantoms-noise-at-0"
    assert "dial 0.0" in collection.note
    np.testing.assert_allclose(
        collection.read(collection.samples[1]).image[0],
        100 + 12 * phantom("noise", 1, dial=0.0)[0],
        atol=0.51,
    )
    (listed,) = [entry for entry in catalogue() if entry.here]
    assert listed.summary == "one region in white noise, contrast to noise 0"


@pytest.mark.parametrize("kind", PHANTOMS)
def test_the_oracle_reaches_as_much_on_the_files(kind, tmp_path):
    collection = write_phantoms(tmp_path / kind, kind, 20)
    chosen = PHANTOMS[kind]
    scores = []
    for sample in collection.samples:
        raw = collection.read(sample)
        scores.append(iou(chosen.oracle((raw.image[0] - 100) / 12, chosen.dial), raw.mask[0]))
    assert np.mean(scores) >= chosen.oracle_iou[0]


@pytest.mark.parametrize("kind", PHANTOMS)
def test_a_phantom_is_a_function_of_its_place_alone(kind):
    alone = phantom(kind, 5)
    for index in (3, 5):
        image, mask = phantom(kind, index)
    np.testing.assert_array_equal(image, alone[0])
    np.testing.assert_array_equal(mask, alone[1])
    assert not np.array_equal(phantom(kind, 6)[0], image)
    assert not np.array_equal(phantom(kind, 5, seed=1)[0], image)


@pytest.mark.parametrize("size", [(96, 96), (40, 64), (32, 32, 32)])
def test_no_neighbourhood_of_a_ball_holds_the_answer_of_context(size):
    for index in range(10):
        (left, left_mask), (right, right_mask) = (
            phantom_kinds.context_with_marker(np.random.default_rng(index), size, side)
            for side in (True, False)
        )
        balls = left_mask | right_mask
        assert not (left_mask & right_mask).any()
        assert left_mask.any()
        assert right_mask.any()
        # The two images have opposite answers at every ball, and differ nowhere near one.
        away = ndimage.distance_transform_edt(~balls)[left != right]
        assert away.min() > phantom_kinds.CONTEXT_DISTANCE * size[-2]


def test_both_sides_of_context_are_drawn_equally_often():
    left = [bool(phantom("context", i)[1][:, :48].any()) for i in range(300)]
    assert np.mean(left) == pytest.approx(0.5, abs=0.09)


def test_texture_cannot_be_told_by_brightness_or_contrast():
    inside, outside = [], []
    for index in range(60):
        image, mask = phantom("texture", index)
        inside.append((image[mask].mean(), image[mask].std()))
        outside.append((image[~mask].mean(), image[~mask].std()))
    np.testing.assert_allclose(np.mean(inside, axis=0), [0, 1], atol=0.05)
    np.testing.assert_allclose(np.mean(outside, axis=0), [0, 1], atol=0.05)


def test_balls_and_boxes_of_shape_agree_in_volume_and_brightness():
    balls, boxes = [], []
    for index in range(60):
        image, mask = phantom("shape", index)
        objects, count = ndimage.label(ndimage.binary_opening(image > 2))
        assert count == 4
        for number in range(1, 5):
            found = objects == number
            (balls if mask[found].mean() > 0.5 else boxes).append(
                (found.sum(), image[found].mean())
            )
    assert len(balls) == len(boxes) == 120
    np.testing.assert_allclose(np.mean(balls, axis=0), np.mean(boxes, axis=0), rtol=0.05)


def test_the_dials():
    for contrast in (1.0, 4.0):
        image, mask = phantom("noise", 0, dial=contrast)
        assert image[~mask].std() == pytest.approx(1, abs=0.05)
        assert image[mask].mean() - image[~mask].mean() == pytest.approx(contrast, abs=0.2)
    for radius in (1.0, 3.0):
        _, mask = phantom("size", 0, dial=radius)
        expected = sum(x * x + y * y <= radius**2 for x in range(-3, 4) for y in range(-3, 4))
        assert mask.sum() == 4 * expected


def test_sizes_are_read_from_words():
    assert phantoms.size_of(None, False) == ((96, 96), 240)
    assert phantoms.size_of(None, True) == ((48, 48, 48), 60)
    assert phantoms.size_of("64X128", False) == ((64, 128), 240)
    assert phantoms.size_of("32, 40 48", False) == ((32, 40, 48), 60)
    for text in ("96", "a x b", "96x-96", "1x2x3x4", ""):
        with pytest.raises(DataError, match=r"is no size: write 96x96"):
            phantoms.size_of(text, False)


def test_wrong_phantoms_are_refused(tmp_path):
    for call, message in [
        (lambda: phantom("contxt", 0), "unknown phantom 'contxt'. Did you mean 'context'"),
        (lambda: phantom("shape", 0, dial=2.0), "phantom 'shape' has no dial .* noise, size"),
        (lambda: phantom("noise", 0, dial=-1.0), r"the dial of phantom 'noise' .* is -1\.0: at l"),
        (lambda: phantom("size", 0, dial=0.0), r"the dial of phantom 'size' .* is 0\.0: above 0"),
        (lambda: phantom("size", 0, size=(16, 96)), r"at least 32 pixels, not \[16, 96\]"),
        (lambda: phantom("size", 0, size=(32, 32), dial=15.0), r"no room for 4 objects of radius"),
        (lambda: phantom("size", 0, size=(32, 32), dial=40.0), r"no room for 4 objects of radius"),
        (lambda: write_phantoms(tmp_path, "size", 2), "is there already"),
    ]:
        with pytest.raises(DataError, match=message):
            call()


@pytest.mark.parametrize("size", [(32, 40), (32, 33, 34)])
def test_written_phantoms_are_read_as_they_were_drawn(tmp_path, size):
    collection = write_phantoms(tmp_path / "set", "noise", 3, size=size, seed=7, dial=4.0)
    assert "seed 7, dial 4.0" in collection.note
    for index, sample in enumerate(collection.samples):
        image, mask = phantom("noise", index, size=size, seed=7, dial=4.0)
        raw = collection.read(sample)
        np.testing.assert_array_equal(raw.mask, [mask])
        np.testing.assert_allclose(raw.image[0], 100 + 12 * image, atol=0.51)
    again = write_phantoms(tmp_path / "again", "noise", 3, size=size, seed=7, dial=4.0)
    assert again.fingerprint == collection.fingerprint
    assert open_collection(str(tmp_path / "set")).fingerprint == collection.fingerprint


def test_an_embedded_set_is_drawn_once(tmp_path, monkeypatch):
    monkeypatch.setenv("LLM4SEG_PROBE_CACHE", str(tmp_path))
    collection = open_collection("phantoms-size")
    assert collection.name == "phantoms-size"
    assert len(collection.samples) == phantoms.COUNT
    changed = phantoms.folder_of("phantoms-size").stat().st_mtime_ns
    assert open_collection("phantoms-size").fingerprint == collection.fingerprint
    assert phantoms.folder_of("phantoms-size").stat().st_mtime_ns == changed
    here = [entry.name for entry in catalogue() if entry.here]
    assert here == ["phantoms-size"]
    split = split_of(collection, DataConfig(split="groups"))
    assert (len(split.train), len(split.val), len(split.test)) == (144, 48, 48)


class Small(nn.Module):
    """A few convolutions that see 15 pixels; ``everywhere`` adds where the image is brightest."""

    def __init__(self, everywhere: bool) -> None:
        super().__init__()
        self.everywhere = everywhere
        layers: list[nn.Module] = []
        for channels, dilation in ((2, 1), (8, 2), (8, 4)):
            layers += [nn.Conv2d(channels, 8, 3, padding=dilation, dilation=dilation), nn.ReLU()]
        self.local = nn.Sequential(*layers)
        self.last = nn.Conv2d(8 + 2, 1, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        column = torch.linspace(-1, 1, image.shape[-1]).expand_as(image)
        seen = self.local(torch.cat([image, column], dim=1))
        # Which half holds the brightest pixel, times the column: what a global view adds.
        half = image.shape[-1] // 2
        sides = image[..., :half].amax((2, 3)) - image[..., half:].amax((2, 3))
        added = sides.sign()[..., None, None] * torch.cat([column, column.sign()], dim=1)
        return self.last(torch.cat([seen, added * self.everywhere], dim=1))


@pytest.mark.slow
@pytest.mark.parametrize("everywhere", [False, True])
def test_a_network_that_sees_its_neighbourhood_stays_at_chance_on_context(everywhere):
    drawn = [phantom("context", i, size=(32, 32)) for i in range(160)]
    images = torch.from_numpy(np.stack([image for image, _ in drawn])).float()[:, None]
    masks = torch.from_numpy(np.stack([mask for _, mask in drawn])).float()[:, None]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Small(everywhere)
        optimiser = torch.optim.Adam(network.parameters(), 1e-2)
        for step in range(150):
            batch = torch.arange(16 * step, 16 * step + 16) % 120
            logits = network(images[batch])
            nn.functional.binary_cross_entropy_with_logits(logits, masks[batch]).backward()
            optimiser.step()
            optimiser.zero_grad()
    with torch.no_grad():
        logits = network(images[120:])[:, 0]
    found, truth = [], masks[120:, 0] > 0
    for answer, image, mask in zip(logits, images[120:, 0], truth, strict=True):
        others = (image > phantom_kinds.OBJECT_CONTRAST / 2) & ~mask
        others[:16] = False
        rest = ~mask & ~others
        rest[:16] = False
        found.append((answer[mask].mean(), answer[others].mean(), answer[rest].mean()))
    right, wrong, background = torch.tensor(found).T
    # Both networks know the balls from the background; only one knows which balls.
    assert (right > background).all()
    share = (right > wrong).float().mean().item()
    assert share > 0.95 if everywhere else 0.25 < share < 0.75
