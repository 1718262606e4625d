import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from llm4seg_probe.probes.robustness.corruptions import CORRUPTIONS, STRENGTHS, corrupted
from llm4seg_probe.randomness import generator

RANGE = (-200.0, 800.0)


def picture(*shape: int) -> Tensor:
    """A smooth blob on a ramp, in Hounsfield units within the window."""
    rows, columns = torch.meshgrid(
        torch.linspace(-1, 1, shape[-2]), torch.linspace(-1, 1, shape[-1]), indexing="ij"
    )
    plane = 100 + 150 * rows + 500 * torch.exp(-4 * (rows**2 + (columns - 0.2) ** 2))
    return plane.expand(shape).contiguous()


def worse(image: Tensor, kind: str, strength: int, seed: int = 7) -> Tensor:
    return corrupted(image, kind, strength, value_range=RANGE, seed=seed)


@pytest.mark.parametrize("kind", CORRUPTIONS)
@pytest.mark.parametrize("shape", [(1, 40, 36), (3, 40, 36), (1, 3, 40, 36)])
def test_every_strength_changes_more_and_none_changes_nothing(kind: str, shape) -> None:
    image = picture(*shape)
    before = image.clone()
    assert worse(image, kind, 0) is image
    errors = []
    for strength in STRENGTHS[1:]:
        found = worse(image, kind, strength)
        assert type(found) is Tensor
        assert (found.shape, found.dtype) == (image.shape, torch.float32)
        assert found.is_contiguous()
        errors.append((found - image).square().mean().sqrt().item())
    assert errors == sorted(errors)
    assert errors[0] > 0
    assert torch.equal(image, before)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_volume_is_corrupted_in_its_planes(kind: str) -> None:
    volume = picture(1, 4, 32, 32) * torch.tensor([0.4, 0.7, 1.0, 0.1])[None, :, None, None]
    if kind in ("noise", "contrast"):  # drawn for, or scaled to, the whole volume
        return
    found = worse(volume, kind, 3)
    for place in range(4):
        alone = worse(volume[:, place].contiguous(), kind, 3)
        assert found[:, place].numpy() == pytest.approx(alone.numpy(), abs=1e-3)


def test_noise_has_the_stated_sd_and_depends_on_the_seed_alone() -> None:
    image = picture(1, 200, 200)
    state = torch.get_rng_state(), np.random.get_state()[1].sum()  # noqa: NPY002
    for strength, share in enumerate((0.02, 0.05, 0.1, 0.2, 0.4), start=1):
        noise = worse(image, "noise", strength) - image
        assert noise.std().item() == pytest.approx(1000 * share, rel=0.02)
        assert noise.mean().item() == pytest.approx(0, abs=0.02 * 1000 * share)
    assert torch.equal(worse(image, "noise", 2), worse(image, "noise", 2))
    assert not torch.equal(worse(image, "noise", 2), worse(image, "noise", 2, seed=8))
    assert torch.equal(torch.get_rng_state(), state[0])
    assert np.random.get_state()[1].sum() == state[1]  # noqa: NPY002


def test_blur_is_scipys_gaussian_up_to_the_edge() -> None:
    image = picture(1, 60, 60)
    for strength, sigma in ((2, 1.0), (5, 3.0)):
        expected = gaussian_filter(image[0].double().numpy(), sigma, mode="nearest", truncate=6)
        found = worse(image, "blur", strength)[0].numpy()
        # MONAI integrates the Gaussian over each pixel, scipy samples it.
        assert found == pytest.approx(expected, abs=1.5)


def test_contrast_is_a_gamma_within_the_window() -> None:
    image = torch.tensor([[[-1000.0, -200.0, 50.0, 300.0, 800.0, 2000.0]]])
    found = worse(image, "contrast", 3)
    shares = torch.tensor([0.0, 0.0, 0.25, 0.5, 1.0, 1.0])
    assert found[0, 0].tolist() == pytest.approx((1000 * shares**2 - 200).tolist(), abs=0.01)


def test_resolution_is_the_mean_of_blocks() -> None:
    image = torch.rand(1, 12, 12, generator=generator("test", "blocks"))
    found = worse(image, "resolution", 1)  # twice as coarse
    blocks = image.reshape(1, 6, 2, 6, 2).mean((2, 4))
    # Between four block centres, bilinear weights are 9, 3, 3 and 1 of 16.
    expected = (9 * blocks[0, 2, 2] + 3 * blocks[0, 2, 3] + 3 * blocks[0, 3, 2]) / 16
    expected += blocks[0, 3, 3] / 16
    assert found[0, 5, 5].item() == pytest.approx(expected.item(), abs=1e-6)


def test_jpeg_keeps_a_flat_picture_and_is_eight_bits_wide() -> None:
    flat = torch.full((1, 16, 16), 300.0)
    assert (worse(flat, "jpeg", 5) - flat).abs().max() <= 1000 / 255
    steps = (worse(picture(1, 40, 36), "jpeg", 1) + 200) * 255 / 1000
    assert (steps - steps.round()).abs().max() < 1e-3
    beyond = torch.tensor([-1000.0, 3000.0]).repeat_interleave(128).reshape(1, 16, 16)
    found = worse(beyond, "jpeg", 1)
    assert found.min() >= -200.001
    assert found.max() <= 800.001
