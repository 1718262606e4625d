"""Boosters in networks that nobody here wrote, of MONAI and transformers."""

import pytest
import torch
from torch import nn

from llm4seg_probe.models.insertion import boost
from llm4seg_probe.models.sites import boosters_of


def monai_unet():
    from monai.networks.nets import UNet

    return UNet(2, 3, 2, channels=(4, 8, 16), strides=(2, 2), num_res_units=1)


def segformer():
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    config = SegformerConfig(
        hidden_sizes=[4, 8, 8, 16],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=12,
        num_labels=2,
    )
    return SegformerForSemanticSegmentation(config)


def convnext():
    from transformers import ConvNextConfig, ConvNextModel

    return ConvNextModel(ConvNextConfig(hidden_sizes=[4, 8, 8, 16], depths=[1, 1, 1, 1]))


class Headed(nn.Module):
    """MONAI's ResNet features, a list of five scales, under a head of one convolution.

    MONAI's own FlexibleUNet around them cannot be compiled, and torch.export refuses them or
    gives other numbers (strict), without any booster.
    """

    def __init__(self):
        super().__init__()
        from monai.networks.nets import FlexibleUNet

        self.encoder = FlexibleUNet(3, 2, "resnet18", decoder_channels=(8, 8, 4, 4, 4)).encoder
        self.head = nn.Conv2d(512, 2, 1)

    def forward(self, images):
        return self.head(self.encoder(images)[-1])


LIST = "an encoder of MONAI that returns a list"
FOREIGN = {
    "monai UNet": (monai_unet, "model.1.submodule.1.submodule", None),
    "transformers SegFormer": (segformer, "decode_head.linear_fuse", None),
    LIST: (Headed, "encoder", -1),
    "an encoder of transformers that returns a mapping": (
        convnext, "encoder", "last_hidden_state",
    ),
}  # fmt: skip


@pytest.fixture(params=FOREIGN)
def foreign(request, tiny_llama):
    """A boosted network that nobody here wrote, where its booster is, and images for it."""
    make, at, output = FOREIGN[request.param]
    torch.manual_seed(0)
    plain = make().eval()
    options = {"source": tiny_llama, "layer": 2, "input_shape": (3, 64, 64), "output": output}
    boosted = boost(plain, at, **options).eval()
    images = torch.randn((2, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    return plain, boosted, at, output, images


def tensor_of(produced):
    for name in ("logits", "last_hidden_state"):
        produced = getattr(produced, name, produced)
    return produced


def test_a_foreign_network_keeps_the_form_of_what_it_returns(foreign):
    plain, boosted, at, output, images = foreign
    seen = []
    for network in (plain, boosted):
        module = network.get_submodule(at)
        hook = module.register_forward_hook(lambda m, inputs, produced: seen.append(produced))
        with torch.no_grad():
            seen.append(network(images))
        hook.remove()
    entry_before, before, entry_after, after = seen
    assert type(after) is type(before)
    assert type(entry_after) is type(entry_before)
    assert not torch.equal(tensor_of(after), tensor_of(before))
    if isinstance(before, dict):
        assert list(after) == list(before)
    if output is None:
        return
    keys = list(entry_before) if isinstance(entry_before, dict) else range(len(entry_before))
    others = [key for key in keys if key != output and key != len(entry_before) - 1]
    assert all(torch.equal(entry_after[key], entry_before[key]) for key in others)
    assert not torch.equal(entry_after[output], entry_before[output])


@pytest.mark.parametrize("foreign", [name for name in FOREIGN if name != LIST], indirect=True)
def test_a_foreign_network_exports(foreign):
    _, boosted, _, _, images = foreign
    with torch.no_grad():
        expected = tensor_of(boosted(images))
        exported = torch.export.export(boosted, (images,)).module()
        torch.testing.assert_close(tensor_of(exported(images)), expected)


def test_a_foreign_network_compiles_in_one_graph(foreign):
    _, boosted, _, _, images = foreign
    torch.compiler.reset()
    with torch.no_grad():
        expected = tensor_of(boosted(images))
        compiled = torch.compile(boosted, fullgraph=True, backend="eager")
        torch.testing.assert_close(tensor_of(compiled(images)), expected)


def test_a_foreign_network_trains_its_adapters_alone_in_the_booster(foreign):
    _, boosted, *_, images = foreign
    tensor_of(boosted.train()(images)).square().mean().backward()
    ((_, booster),) = boosters_of(boosted)
    assert isinstance(booster.adapter1, nn.Linear)
    assert booster.adapter1.weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in booster.middle.parameters())


class TwoScales(nn.Module):
    """An encoder that returns a tuple of two scales, and a head on the coarser one."""

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.fine = nn.Conv2d(3, 4, 3, 2, 1)
            self.coarse = nn.Conv2d(4, 6, 3, 2, 1)

        def forward(self, images):
            fine = self.fine(images)
            return fine, self.coarse(fine)

    def __init__(self):
        super().__init__()
        self.encoder = self.Encoder()
        self.head = nn.Conv2d(6, 2, 1)

    def forward(self, images):
        fine, coarse = self.encoder(images)
        return {"logits": self.head(coarse), "fine": fine}


def test_one_entry_of_a_tuple_exports_and_compiles(tiny_llama):
    options = {"source": tiny_llama, "layer": 2, "input_shape": (3, 16, 16), "output": 1}
    boosted = boost(TwoScales(), "encoder", **options).eval()
    images = torch.randn((2, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    torch.compiler.reset()
    with torch.no_grad():
        expected = boosted(images)
        exported = torch.export.export(boosted, (images,)).module()
        compiled = torch.compile(boosted, fullgraph=True, backend="eager")
        torch.testing.assert_close(exported(images), expected)
        torch.testing.assert_close(compiled(images), expected)
