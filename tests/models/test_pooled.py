"""The pooled head: the same encoder, no decoder, one answer."""

import pytest
import torch
from torch import nn

from llm4seg_probe.config import Config
from llm4seg_probe.errors import ConfigError, SiteError
from llm4seg_probe.models.heads import PooledNetwork
from llm4seg_probe.models.network import (
    build_network,
    load_portable_state,
    numbers_of,
    portable_state,
)
from llm4seg_probe.models.sites import sites_of

BACKBONES = {
    "cmunext": ((4, 8, 8, 8, 8), (32, 32)),
    "unet": ((4, 8, 8, 8, 8), (32, 32)),
    "attention-unet": ((4, 8, 8, 8, 8), (32, 32)),
    "dynunet-3d": ((4, 8, 8, 8, 8, 8), (32, 32, 64)),
    "segresnet-3d": ((8, 16, 32, 64), (16, 16, 16)),
}


def configured(name: str, task: str, arm: str = "adapters", **data: object) -> Config:
    widths, size = BACKBONES[name]
    return Config.model_validate(
        {
            "task": task, "arm": arm, "backbone": {"name": name, "widths": widths},
            "data": {"image_size": size, "classes": ["a", "b", "c"], **data},
        }
    )  # fmt: skip


@pytest.mark.parametrize("name", BACKBONES)
def test_the_encoder_is_that_of_the_segmentation_network(name):
    whole = dict(build_network(configured(name, "segmentation")).named_parameters())
    network = build_network(configured(name, "classification"))
    own = dict(network.named_parameters())
    assert 0 < len(own) < len(whole)
    for path, parameter in own.items():
        if not path.startswith("head."):
            assert torch.equal(parameter, whole[path.removeprefix("backbone.")]), path
    axes = len(BACKBONES[name][1])
    logits = network(torch.randn(2, 1, *BACKBONES[name][1]))
    assert logits.shape == (2, 3, *[1] * axes)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in own.values())


@pytest.mark.parametrize("name", BACKBONES)
def test_the_answer_is_that_of_the_features_after_the_booster(name):
    network = build_network(configured(name, "classification")).eval()
    seen = {}
    point = sites_of(network)["after"]
    network.get_submodule(point.module).register_forward_hook(
        lambda module, inputs, produced: seen.update(after=produced)
    )
    with torch.no_grad():
        logits = network(torch.randn(2, 1, *BACKBONES[name][1]))
        expected = nn.functional.linear(
            seen["after"].flatten(2).mean(-1), network.head.weight, network.head.bias
        )
    torch.testing.assert_close(logits.flatten(1), expected)
    assert not any(site.startswith("decoder") for site in sites_of(network))


def test_arms_of_a_seed_share_encoder_and_head():
    one, other = (
        build_network(configured("cmunext", "classification", arm)) for arm in ("cnn", "mlp")
    )
    assert torch.equal(one.head.weight, other.head.weight)
    assert torch.equal(next(one.backbone.parameters()), next(other.backbone.parameters()))


def test_its_weights_are_counted_stored_and_loaded():
    config = configured("cmunext", "classification", "cnn")
    network = build_network(config)
    assert numbers_of(config) == sum(tensor.numel() for tensor in network.state_dict().values())
    state = {name: tensor + 1 for name, tensor in portable_state(network).items()}
    load_portable_state(network, state)
    assert torch.equal(network.head.bias, state["head.bias"])
    assert numbers_of(config) < numbers_of(configured("cmunext", "segmentation", "cnn"))


class Unhooked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.never = nn.Conv2d(4, 4, 1)
        self.flat = nn.Flatten()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.flat(self.first(images))


@pytest.mark.parametrize(
    ("last", "said"), [("never", "is not called"), ("flat", "on a grid"), ("none", "no module")]
)
def test_a_module_without_features_is_refused(last, said):
    with pytest.raises(SiteError, match=said if last != "none" else "none"):
        PooledNetwork(Unhooked(), last, None, (1, 8, 8), 2)


def test_a_network_from_outside_names_its_module():
    values = {"task": "classification", "arm": "cnn", "backbone": {"name": "test_pooled:outside"}}
    with pytest.raises(ConfigError, match=r"backbone\.at is null: name the module"):
        build_network(Config.model_validate(values))
    values["backbone"]["at"] = "first"
    assert build_network(Config.model_validate(values))(torch.zeros(1, 1, 16, 16)).numel() == 1


def outside(in_channels: int, out_channels: int) -> nn.Module:
    return Unhooked()
