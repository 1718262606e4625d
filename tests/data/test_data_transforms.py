import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from llm4seg_probe.config import DataConfig
from llm4seg_probe.data.augmentation import Augmentation, transform_classes
from llm4seg_probe.data.collection import RawImage
from llm4seg_probe.data.preprocess import IMAGENET_MEAN, IMAGENET_SD, Preprocess
from llm4seg_probe.errors import ConfigError, DataError

SIZE = (16, 16)


def raw(image: np.ndarray, modality: str) -> RawImage:
    image = np.asarray(image, dtype=np.float32)
    return RawImage(image, image[:1] > image.mean(), None, modality)


def random_image(channels: int = 1, size: tuple[int, ...] = SIZE) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (channels, *size)).astype(np.float32)


def preprocess(**options: object) -> Preprocess:
    return Preprocess(DataConfig.model_validate({"image_size": SIZE, **options}))


def test_ct_is_windowed():
    image = np.full((1, *SIZE), 300.0)
    image[0, 0, :5] = [-1000, -200, 50, 800, 3000]
    seen = preprocess()(raw(image, "ct"))
    torch.testing.assert_close(seen[0, 0, :6], torch.tensor([-1.0, -1.0, -0.5, 1.0, 1.0, 0.0]))


@pytest.mark.parametrize(("modality", "channels"), [("mr", 1), ("photo", 1), ("photo", 3)])
def test_mr_and_photographs_have_mean_0_and_sd_1(modality, channels):
    image = random_image(channels)
    seen = preprocess(channels=channels)(raw(image, modality))
    expected = (image - image.mean()) / image.std()
    np.testing.assert_allclose(seen.numpy(), expected, atol=1e-5)
    # To the bit: runs that were made before MR was taken by channel are made again the same.
    pixels = torch.from_numpy(image)
    centred = pixels - pixels.mean()
    assert torch.equal(seen, centred / centred.square().mean().sqrt())
    assert not preprocess()(raw(np.full((1, *SIZE), 7.0), modality)).any()


def test_each_channel_of_an_mr_has_a_scale_of_its_own():
    image = np.concatenate([random_image(2), np.full((1, *SIZE), 7.0)]).astype(np.float32)
    image[1] = 900 + 30 * image[1]
    seen = preprocess(channels=3)(raw(image, "mr")).numpy()
    for channel in (0, 1):
        alone = preprocess()(raw(image[channel : channel + 1], "mr"))[0].numpy()
        assert np.array_equal(seen[channel], alone)
        assert seen[channel].mean() == pytest.approx(0, abs=1e-5)
        assert seen[channel].std() == pytest.approx(1, abs=1e-5)
    assert not seen[2].any()
    grey = preprocess(channels=3)(raw(image[:1], "mr"))
    assert torch.equal(grey, preprocess()(raw(image[:1], "mr")).expand(3, -1, -1))


def test_imagenet_statistics_per_channel_in_rgb_order():
    image = random_image(3)
    seen = preprocess(channels=3, normalisation="imagenet")(raw(image, "photo"))
    for channel in range(3):
        expected = (image[channel] / 255 - IMAGENET_MEAN[channel]) / IMAGENET_SD[channel]
        np.testing.assert_allclose(seen[channel], expected, atol=1e-5)


def test_reference_is_bgr_and_divided_by_255_once_more():
    image = random_image(3)
    seen = preprocess(channels=3, normalisation="reference")(raw(image, "photo"))
    for channel in range(3):
        blue_first = image[2 - channel]
        expected = (blue_first / 255 - IMAGENET_MEAN[channel]) / IMAGENET_SD[channel] / 255
        np.testing.assert_allclose(seen[channel], expected, atol=1e-7)


def test_reference_has_the_range_that_the_published_code_has():
    black_and_white = np.zeros((3, *SIZE))
    black_and_white[:, 8:] = 255
    seen = preprocess(channels=3, normalisation="reference")(raw(black_and_white, "photo"))
    assert seen.min().item() == pytest.approx(-0.0083, abs=5e-5)
    assert seen.max().item() == pytest.approx(0.0104, abs=5e-5)


def test_imagenet_statistics_of_ct_and_mr_are_taken_on_0_to_255():
    image = np.zeros((1, *SIZE))
    image[0, :8], image[0, 8:] = -200, 800
    as_ct = preprocess(channels=3, normalisation="imagenet")(raw(image, "ct"))
    as_mr = preprocess(channels=3, normalisation="imagenet")(raw(image, "mr"))
    as_photo = preprocess(channels=3, normalisation="imagenet")(
        raw((image + 200) / 1000 * 255, "photo")
    )
    torch.testing.assert_close(as_ct, as_photo)
    torch.testing.assert_close(as_mr, as_photo)


def test_grey_becomes_three_equal_channels_and_colour_luminance():
    grey, colour = random_image(1), random_image(3)
    three = preprocess(channels=3)(raw(grey, "photo"))
    assert torch.equal(three[0], three[1])
    assert torch.equal(three[0], three[2])
    one = preprocess(channels=1)(raw(colour, "photo"))
    picture = Image.fromarray(np.moveaxis(colour, 0, -1).astype(np.uint8))
    luminance = np.asarray(picture.convert("L"), dtype=np.float32)
    expected = (luminance - luminance.mean()) / luminance.std()
    np.testing.assert_allclose(one[0].numpy(), expected, atol=0.03)  # PIL rounds to 8 bits
    with pytest.raises(DataError, match=r"2 channels, data\.channels is 1: train with data"):
        preprocess()(raw(random_image(2), "photo"))
    with pytest.raises(DataError, match=r"the image has 1 channels?, .* or give images of 2 chan"):
        preprocess(channels=2)(raw(grey, "mr"))
    with pytest.raises(ValidationError, match="statistics of 1 and 3 only: set normalisation to"):
        preprocess(channels=2, normalisation="imagenet")


def test_images_are_resized_bilinearly_and_masks_to_the_nearest():
    image = random_image(1, (40, 24))
    made = preprocess()
    seen, mask = made(raw(image, "photo")), made.mask(raw(image, "photo"))
    assert seen.shape == mask.shape == (1, *SIZE)
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    normalised = (image[0] - image.mean()) / image.std()
    y, x = (np.arange(16) + 0.5) * 40 / 16 - 0.5, (np.arange(16) + 0.5) * 24 / 16 - 0.5
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    down, right = (y - top)[:, None], (x - left)[None]
    expected = (
        normalised[np.ix_(top, left)] * (1 - down) * (1 - right)
        + normalised[np.ix_(top + 1, left)] * down * (1 - right)
        + normalised[np.ix_(top, left + 1)] * (1 - down) * right
        + normalised[np.ix_(top + 1, left + 1)] * down * right
    )
    np.testing.assert_allclose(seen[0].numpy(), expected, atol=1e-5)
    nearest = (image[0] > image.mean())[np.ix_(np.rint(y).astype(int), np.rint(x).astype(int))]
    whole = ~np.isclose(y % 1, 0.5)[:, None] & ~np.isclose(x % 1, 0.5)[None]
    assert np.array_equal(mask[0].numpy().astype(bool)[whole], nearest[whole])


def test_volumes_are_resized_in_three_dimensions():
    volume = raw(random_image(1, (6, 20, 24)), "mr")
    made = preprocess(image_size=(16, 16, 16))
    assert made(volume).shape == made.mask(volume).shape == (1, 16, 16, 16)
    with pytest.raises(
        DataError, match=r"the image has 3 axes \[6, 20, 24\], but data\.image_size"
    ):
        preprocess()(volume)


def test_an_unknown_modality_is_an_error_only_where_intensities_depend_on_it():
    image = raw(random_image(), "unknown")
    for normalisation in ("modality", "imagenet", "reference"):
        with pytest.raises(DataError, match="the modality is not stated"):
            preprocess(normalisation=normalisation)(image)
    assert preprocess().mask(image).any()


def test_preprocessing_is_picklable_and_deterministic():
    made, image = preprocess(), raw(random_image(), "mr")
    assert torch.equal(pickle.loads(pickle.dumps(made))(image), made(image))


def augmentation(kind: str, size: tuple[int, ...] = SIZE) -> Augmentation:
    made = Augmentation.of(DataConfig.model_validate({"image_size": size, "augmentation": kind}))
    assert made is not None
    return made


@pytest.mark.parametrize("kind", ["reference", "mild", "nnunet-like"])
@pytest.mark.parametrize("size", [SIZE, (16, 16, 16)])
def test_an_augmentation_is_a_function_of_its_seed_alone(kind, size):
    augment = augmentation(kind, size)
    image, mask = torch.rand(1, *size), (torch.rand(2, *size) > 0.5).float()
    before = (image.clone(), mask.clone(), torch.get_rng_state(), np.random.get_state()[1].copy())  # noqa: NPY002
    first = [augment(image, mask, seed) for seed in range(12)]
    again = [augment(image, mask, seed) for seed in reversed(range(12))][::-1]
    for (a, b), (c, d) in zip(first, again, strict=True):
        assert torch.equal(a, c)
        assert torch.equal(b, d)
        assert type(a) is torch.Tensor
        assert a.shape == image.shape
        assert b.shape == mask.shape
        assert set(b.unique().tolist()) <= {0.0, 1.0}
    assert len({a.numpy().tobytes() for a, _ in first}) > 3
    assert torch.equal(image, before[0])
    assert torch.equal(mask, before[1])
    assert torch.equal(torch.get_rng_state(), before[2])
    assert np.array_equal(np.random.get_state()[1], before[3])  # noqa: NPY002


@pytest.mark.parametrize("size", [SIZE, (6, 16, 16)])
def test_reference_moves_an_image_and_its_mask_alike(size):
    size = size if len(size) == 2 else (16, *size[1:])
    augment = augmentation("reference", size)
    mask = (torch.rand(1, *size, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    for seed in range(60):
        moved_image, moved_mask = augment(mask, mask, seed)
        assert torch.equal(moved_image, moved_mask)


def test_reference_draws_turns_and_flips_as_often_as_the_published_recipe():
    augment = augmentation("reference")
    image = torch.arange(256.0).reshape(1, *SIZE)
    symmetries = {
        torch.rot90(side, k, (1, 2)).numpy().tobytes(): (k, side is not image)
        for side in (image, image.flip(2))
        for k in range(4)
    }
    drawn = [symmetries[augment(image, image, seed)[0].numpy().tobytes()] for seed in range(3000)]
    # By enumeration: a turn of 0 to 3 quarters in half of the draws, then in half of the draws a
    # flip of columns, of rows, or of both.
    turns = {0: 0.625, 1: 0.125, 2: 0.125, 3: 0.125}
    shares: dict[tuple[int, bool], float] = {}
    for k, p in turns.items():
        for more, flipped, q in (
            (0, False, 1 / 2),
            (2, False, 1 / 6),
            (0, True, 1 / 6),
            (2, True, 1 / 6),
        ):
            # A flip after k quarter turns is the flip first, then -k quarter turns.
            key = ((k + more) % 4, False) if not flipped else ((-k + more) % 4, True)
            shares[key] = shares.get(key, 0) + p * q
    assert sum(shares.values()) == pytest.approx(1)
    for key, share in shares.items():
        assert drawn.count(key) / 3000 == pytest.approx(share, abs=0.03)


def test_mild_moves_a_blob_and_its_mask_together():
    augment = augmentation("mild", (64, 64))
    y, x = np.mgrid[:64, :64]
    blob = torch.from_numpy(((y - 24) ** 2 + (x - 40) ** 2 < 100).astype(np.float32))[None]
    for seed in range(40):
        image, mask = augment(blob, blob, seed)
        seen = image > 0.5 * image.max()
        overlap = (seen & (mask > 0.5)).sum() / (seen | (mask > 0.5)).sum()
        assert overlap > 0.9


def test_quarter_turns_of_oblong_images_are_refused():
    with pytest.raises(
        ConfigError, match=r"turns images by 90 degrees, but .* \[16, 32\]: make it"
    ):
        augmentation("reference", (16, 32))


def test_no_augmentation_is_none():
    assert Augmentation.of(DataConfig(augmentation="none")) is None


def test_nnunet_like_keeps_noise_away_from_intensities_of_a_hundredth():
    config = {"image_size": SIZE, "augmentation": "nnunet-like", "normalisation": "reference"}
    with pytest.raises(ConfigError, match="whose noise is for intensities of the order of 1, but"):
        Augmentation.of(DataConfig.model_validate(config))


@pytest.mark.parametrize("size", [(32, 48), (16, 24, 20)])
def test_nnunet_like_moves_image_and_mask_alike_on_any_shape(size):
    augment = augmentation("nnunet-like", size)
    blob = torch.zeros(1, *size)
    blob[(0, *(slice(side // 4, side // 2) for side in size))] = 1
    alike = []
    for seed in range(60):
        image, mask = augment(blob, blob, seed)
        assert image.shape == mask.shape == blob.shape
        seen = image > (image.max() + image.min()) / 2
        alike.append(((seen & (mask > 0)).sum() / (seen | (mask > 0)).sum()).item())
    assert np.median(alike) > 0.9
    moved = sum(not torch.equal(augment(blob, blob, seed)[1], blob) for seed in range(60))
    assert moved > 50  # of mirrorings alone, 3 in 4 move a blob off centre in a plane


def listed(*transforms: dict, size: tuple[int, ...] = SIZE) -> Augmentation:
    values = {"image_size": size, "augmentation": transforms}
    made = Augmentation.of(DataConfig.model_validate(values))
    assert made is not None
    return made


def test_a_list_of_transforms_is_monai_s_own_drawn_from_the_seed():
    import monai.transforms as theirs

    augment = listed(
        {"name": "RandFlipd", "options": {"prob": 0.5, "spatial_axis": 1}},
        {"name": "RandRotated", "options": {"prob": 1.0, "range_x": 0.5}},
        {"name": "RandGaussianNoised", "on": "image", "options": {"prob": 0.5, "std": 0.2}},
    )
    both = ("image", "mask")
    expected = theirs.Compose(
        [
            theirs.RandFlipd(both, prob=0.5, spatial_axis=1),
            theirs.RandRotated(both, prob=1.0, range_x=0.5, mode=("bilinear", "nearest")),
            theirs.RandGaussianNoised("image", prob=0.5, std=0.2),
        ]
    )
    image, mask = torch.rand(1, *SIZE), (torch.rand(1, *SIZE) > 0.5).float()
    for seed in (3, 4, 3):
        expected.set_random_state(seed=seed)
        wanted = expected({"image": image, "mask": mask})
        for part, found in zip(both, augment(image, mask, seed), strict=True):
            assert torch.equal(found, torch.as_tensor(wanted[part]))


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (
            {"name": "RandFlpd"},
            r"augmentation\.0: unknown transform 'RandFlpd'. Did you mean 'Rand",
        ),
        ({"name": "Flipd"}, "unknown transform 'Flipd'. Did you mean 'RandFlipd'"),
        ({"name": "RandFlip"}, "unknown transform 'RandFlip'. Did you mean 'RandFlipd'"),
        ({"name": "os.system"}, r"unknown transform 'os\.system'. Valid"),
        ({"name": "RandLambdad", "options": {"func": "print"}}, "unknown transform 'RandLambdad'"),
        ({"name": "RandTorchVisiond"}, "unknown transform 'RandTorchVisiond'"),
        ({"name": "RandFlipd", "options": {"axis": 1}}, "RandFlipd with options .*'axis'"),
        ({"name": "RandFlipd", "options": {"spatial_axis": 7}}, r"fails on an image of \[16, 32\]"),
        ({"name": "RandGaussianNoised"}, "changes masks to values between 0 and 1: set on: image"),
        ({"name": "RandAffined", "options": {"rotate_range": 1, "mode": "bilinear"}}, "mode: "),
        (
            {"name": "RandRotate90d"},
            r"RandRotate90d makes \[1, 32, 16\] of the image \[1, 16, 32\]",
        ),
        (
            {"name": "RandSpatialCropd", "options": {"roi_size": 8, "random_size": False}},
            r"RandSpatialCropd makes \[1, 8, 8\] of the image",
        ),
    ],
)
def test_a_transform_that_does_not_do_is_said_before_training(transform, message):
    with pytest.raises(ConfigError, match=message) as refused:
        listed(transform, size=(16, 32))
    assert "\n" not in str(refused.value)


def test_only_random_dictionary_transforms_may_be_named():
    names = transform_classes()
    assert {"RandFlipd", "RandAffined", "RandGaussianNoised", "Rand3DElasticd"} <= set(names)
    assert all(name.startswith("Rand") and name.endswith("d") for name in names)
