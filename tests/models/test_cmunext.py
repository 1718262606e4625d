import copy

import pytest
import torch
from golden_formula import golden, golden_input, golden_state

from llm4seg_probe.models.cmunext import CMUNeXt, Pointwise


def test_it_is_the_published_network_number_for_number():
    fields = golden("cnn")
    network = CMUNeXt().eval()
    state = network.state_dict()
    shapes = {key: list(value.shape) for key, value in state.items()}
    assert list(shapes.items()) == list(fields["keys"].items())
    assert sum(parameter.numel() for parameter in network.parameters()) == 3_149_185

    network.load_state_dict(golden_state(fields))
    with torch.no_grad():
        logits = network(golden_input())
    assert logits.shape == (1, 1, 256, 256)
    expected = torch.tensor(fields["logits_16"])
    torch.testing.assert_close(logits[0, 0, ::16, ::16], expected, atol=1e-4, rtol=1e-4)
    assert logits.mean().item() == pytest.approx(fields["logits_mean"], abs=1e-4, rel=1e-4)
    assert logits.std().item() == pytest.approx(fields["logits_std"], abs=1e-4, rel=1e-4)


def test_widths_depths_kernels_and_channels_are_arguments():
    network = CMUNeXt(1, 4, (8, 16, 32, 64, 96), (1, 2, 1, 1, 1), (3, 3, 5, 5, 9)).eval()
    assert network(torch.zeros(2, 1, 48, 32)).shape == (2, 4, 48, 32)
    assert network.encoder5.block[0][0].fn[0].kernel_size == (9, 9)
    assert len(network.encoder2.block) == 2


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


def of_channels_last(*shape: int) -> torch.Tensor:
    return torch.randn(shape).to(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("batch", "channels", "out", "rows"),
    [(4, 8, 32, 96), (4, 32, 8, 96), (8, 16, 64, 48), (3, 8, 4, 24), (4, 8, 4, 26), (1, 8, 8, 8)],
)
def test_a_pointwise_convolution_is_a_matrix_product_forward_and_backward(
    batch, channels, out, rows, one_thread
):
    torch.manual_seed(0)
    layer = Pointwise(channels, out).to(memory_format=torch.channels_last)
    features = of_channels_last(batch, channels, rows, 10).requires_grad_()
    mixed = layer(features)
    assert mixed.is_contiguous(memory_format=torch.channels_last)
    upstream = of_channels_last(*mixed.shape)
    inputs = (features, layer.weight, layer.bias)
    expected = torch.einsum("oc,bchw->bohw", layer.weight[..., 0, 0], features)
    expected = expected + layer.bias[:, None, None]
    assert relative(mixed, expected) < 1e-6
    for found, wanted in zip(
        torch.autograd.grad(mixed, inputs, upstream),
        torch.autograd.grad(expected, inputs, upstream),
        strict=True,
    ):
        assert relative(found, wanted) < 1e-5
    torch.testing.assert_close(layer(features.detach().contiguous()), mixed.detach())


@pytest.mark.parametrize(("batch", "side"), [(4, 96), (8, 48), (1, 32)])
def test_plain_convolutions_are_no_nearer_to_exact_arithmetic(batch, side, one_thread, monkeypatch):
    torch.manual_seed(0)
    network = CMUNeXt(1, 1, (8, 16, 32, 64, 96)).to(memory_format=torch.channels_last)
    images = of_channels_last(batch, 1, side, side)
    exact = copy.deepcopy(network).double()(images.double()).detach()
    ours = network(images).detach()
    monkeypatch.setattr(Pointwise, "forward", torch.nn.Conv2d.forward)
    plain = network(images).detach()
    assert relative(ours.double(), exact) < 1.5 * relative(plain.double(), exact) < 1e-2
    assert relative(ours.square().mean(), plain.square().mean()) < 1e-5
