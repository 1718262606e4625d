import pytest
import torch
from golden_formula import golden, golden_input, golden_state

from llm4seg_probe.models.cmunext import CMUNeXt


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
