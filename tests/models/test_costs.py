import json
from pathlib import Path

import pytest
import torch
from torch import nn

from llm4seg_probe.arms import ARMS
from llm4seg_probe.config import Config, OptimiserConfig
from llm4seg_probe.errors import ConfigError, SourceError
from llm4seg_probe.models.costs import (
    costs,
    costs_of,
    hollow_network,
    layer_macs,
    optimiser_states,
)
from llm4seg_probe.models.network import build_network, parameter_groups
from llm4seg_probe.models.published import beside
from llm4seg_probe.models.sites import boosters_of

LLAMA, DEEPSEEK = "meta-llama/Llama-3.2-1B", "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"


def the_papers(source, arm="llm", backbone="cmunext"):
    return Config(
        arm=arm,
        data={"image_size": (256, 256), "channels": 3},
        backbone={"name": backbone},
        booster={"source": source},
    )


class Handmade(nn.Module):
    """One of each: convolution, grouped, transposed, linear; and one that is never run."""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.plain = nn.Conv2d(in_channels, 6, 3, padding=1, stride=2)
        self.grouped = nn.Conv2d(6, 6, 5, padding=2, groups=6)
        self.up = nn.ConvTranspose2d(6, 4, 2, stride=2)
        self.mix = nn.Linear(4, out_channels)
        self.idle = nn.Linear(10, 10, bias=False)

    def forward(self, images):
        features = self.up(self.grouped(self.plain(images)))
        return self.mix(features.movedim(1, -1)).movedim(-1, 1)


class Fickle(nn.Module):
    """Does something else on bright images."""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.mix = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, images):
        return self.mix(images) if images.mean() > 0 else self.mix(-images)


@pytest.mark.parametrize(
    ("source", "parameters", "layer", "booster", "adapters"),
    [(LLAMA, 60_821_504, 15.84, 16.1, 1_050_880), (DEEPSEEK, 46_797_824, 12.18, 12.4, 788_224)],
)
def test_the_papers_layers_cost_what_is_known_of_them(source, parameters, layer, booster, adapters):
    found = costs(the_papers(source))
    assert found.part("layer").parameters == found.part("layer").frozen == parameters
    assert found.part("adapters").trainable == found.part("adapters").parameters == adapters
    assert round(found.part("layer").macs / 1e9, 2) == layer
    assert round((found.part("layer").macs + found.part("adapters").macs) / 1e9, 1) == booster
    assert found.part("layer").flops == 2 * found.part("layer").macs
    assert found.total.parameters - parameters - adapters == 3_149_185
    assert found.sites["before"] == found.sites["after"] == (256, 16, 16)
    assert found.sites["tokens"] == found.sites["layer"] == (256, found_width(source))
    assert next(iter(found.sites)) == "encoder.1"
    assert list(found.sites)[-1] == "logits"


def found_width(source):
    return {LLAMA: 2048, DEEPSEEK: 1536}[source]


def test_convolutions_and_linear_maps_are_counted_as_by_hand():
    config = Config(
        arm="cnn",
        data={"image_size": (16, 32), "channels": 3, "classes": ("a", "b")},
        backbone={"name": f"{__name__}:Handmade"},
    )
    found = costs(config)
    small, full = 8 * 16, 16 * 32
    by_hand = small * 6 * 3 * 9 + small * 6 * 25 + small * 6 * 4 * 4 + full * 4 * 2
    assert {part.part for part in found.parts} == {"cnn", "unused"}
    assert found.part("cnn").macs == found.total.macs == by_hand
    assert found.part("unused").parameters == 100
    assert found.sites == {"logits": (2, 16, 32)}


@pytest.fixture(scope="module")
def plain():
    """Costs of the plain network that stands around every arm of ``config_of``."""
    data = {"image_size": (32, 32), "channels": 1}
    return costs(Config(arm="cnn", data=data, backbone={"widths": (4, 4, 8, 8, 12)}))


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_is_counted_as_it_is_built(arm, config_of, plain):
    config = config_of(arm)
    found, real = costs(config), build_network(config)
    trained = parameter_groups(real)
    assert found.total.parameters == sum(p.numel() for p in real.parameters())
    # Mixture weights are counted with the layers that they mix, a gate with the adapters.
    gates = {"layer": ARMS[arm].mixed, "adapters": ARMS[arm].gated}
    for part, has_gates in gates.items():
        own = [*trained[part], *(trained["gates"] if has_gates else ())]
        assert found.part(part).trainable == sum(p.numel() for p in own)
    cnn = found.part("encoder").trainable + found.part("decoder").trainable
    assert cnn == sum(p.numel() for p in trained["cnn"])
    for part in ("encoder", "decoder"):
        assert found.part(part).macs == plain.part(part).macs > 0
    for _, booster in boosters_of(real):
        tokens = 2 * 2
        assert found.part("adapters").macs == 2 * tokens * 12 * booster.adapter1.out_features
        if ARMS[arm].middle == "layer":
            assert found.part("layer").macs == layer_macs(booster.middle, tokens) > 0


def test_the_layers_closed_form_is_that_of_its_config(config_of):
    ((_, booster),) = boosters_of(hollow_network(config_of("llm", layer=(1, 3))))
    tokens, width, inner, keys = 10, 24, 40, 12
    products = tokens * (2 * width * width + 2 * width * keys + 3 * width * inner)
    assert layer_macs(booster.middle, tokens) == 2 * (products + 2 * tokens**2 * width)


@pytest.mark.parametrize("attention", ["causal", "bidirectional"])
def test_masked_pairs_are_counted_too(attention, config_of):
    size = {"image_size": (64, 64)}
    found = costs(config_of("llm", data=size, attention=attention))
    ((_, booster),) = boosters_of(hollow_network(config_of("llm", data=size)))
    assert found.part("layer").macs == layer_macs(booster.middle, 16)


@pytest.mark.parametrize(
    ("arm", "precision"), [("cnn", "fp32"), ("llm", "fp32"), ("llm-lora", "fp32"), ("llm", "bf16")]
)
def test_activations_are_what_a_real_step_keeps(arm, precision, config_of):
    config = config_of(arm)
    compute = config.compute.model_copy(update={"precision": precision})
    config = config.model_copy(update={"compute": compute})
    network = build_network(config).train()
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    images = torch.zeros(config.training.batch_size, 1, 32, 32)
    saving = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with saving, torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        output = network(images)
    real = sum(size for size, _ in kept.values())
    assert output.requires_grad
    # In bfloat16 torch believes that a batch norm keeps its statistics in bfloat16, too.
    near = real if precision == "fp32" else pytest.approx(real, rel=1e-3)
    assert costs(config).total.activations == near


def test_memory_is_made_of_weights_gradients_optimiser_and_activations(config_of):
    frozen, trained = costs(config_of("llm")), costs(config_of("llm-trainable"))
    for found, part in ((frozen, "encoder"), (trained, "layer")):
        own = found.part(part)
        assert own.weights == own.gradients == 4 * own.parameters
        assert own.optimiser == 2 * own.weights
        assert own.memory == own.weights + own.gradients + own.optimiser + own.activations
    layer = frozen.part("layer")
    assert (layer.gradients, layer.optimiser) == (0, 0)
    assert layer.activations > 0  # gradients go through it to the encoder
    assert sum(part.memory for part in frozen.parts) == frozen.total.memory


def test_activations_grow_with_the_batch_and_weights_do_not(config_of):
    config = config_of("adapters")
    training = config.training.model_copy(update={"batch_size": 16})
    double = costs(config.model_copy(update={"training": training}))
    single = costs(config)
    assert single.batch_size == 8
    assert double.total.macs == single.total.macs
    assert double.total.weights == single.total.weights
    assert double.part("adapters").activations == 2 * single.part("adapters").activations


def test_checkpointing_and_low_precision_save_what_they_should(config_of):
    plain = costs(config_of("llm")).part("layer")
    checkpointed = costs(config_of("llm", gradient_checkpointing=True)).part("layer")
    low = costs(config_of("llm", layer_precision="bf16")).part("layer")
    assert checkpointed.activations < plain.activations / 4
    assert checkpointed.macs == low.macs == plain.macs
    assert low.weights * 2 == plain.weights


@pytest.mark.parametrize(
    ("optimiser", "states"),
    [({"name": "adamw"}, 2), ({"name": "sgd"}, 1), ({"name": "sgd", "momentum": 0}, 0)],
)
def test_the_optimiser_keeps(optimiser, states):
    assert optimiser_states(OptimiserConfig(**optimiser)) == states


def test_three_dimensions(tiny_llama):
    config = Config(
        arm="llm",
        data={"image_size": (16, 32, 16), "channels": 1, "classes": ("a", "b")},
        backbone={"name": "segresnet-3d", "widths": (8, 16, 32, 64)},
        booster={"source": tiny_llama, "layer": 1},
    )
    found = costs(config)
    ((_, booster),) = boosters_of(hollow_network(config))
    assert found.sites["before"] == (64, 2, 4, 2)
    assert found.sites["logits"] == (2, 16, 32, 16)
    assert found.part("layer").macs == layer_macs(booster.middle, 16)
    assert found.part("encoder").macs > 0
    assert found.part("decoder").macs > 0


def test_the_heads_of_deep_supervision_are_seen():
    def counted(deep):
        backbone = {"name": "dynunet-2d", "widths": range(4, 18, 2), "deep_supervision": deep}
        data = {"image_size": (128, 128), "channels": 1}
        return costs(Config(arm="cnn", data=data, backbone=backbone))

    deep, plain = counted(True), counted(False)
    heads = sum(width + 1 for width in (6, 8, 10, 12))
    assert deep.part("decoder").parameters == plain.part("decoder").parameters + heads
    assert deep.part("encoder") == plain.part("encoder")
    assert deep.part("unused").parameters == 0


def test_a_config_is_enough(tmp_path, tiny_llama, config_of):
    text = (Path(tiny_llama) / "config.json").read_text()
    (tmp_path / "config.json").write_text(text)
    assert json.loads(text)["hidden_size"] == 24
    for arm in ("shuffled-frozen", "adapters"):
        bare = config_of(arm, source=str(tmp_path))
        assert costs(bare).total == costs(config_of(arm)).total
        if arm != "adapters":
            with pytest.raises(SourceError):
                build_network(bare)


def test_a_network_whose_way_depends_on_the_image_cannot_be_counted():
    config = Config(
        arm="cnn", data={"image_size": (32, 32)}, backbone={"name": f"{__name__}:Fickle"}
    )
    with pytest.raises(ConfigError, match=r"test_costs:Fickle cannot be counted .* depends on"):
        costs(config)


def test_nothing_is_left_of_hooks_and_modes_of_torch(config_of):
    network = build_network(config_of("llm"))
    costs_of(network, config_of("llm"))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    assert type(torch.zeros(1)) is torch.Tensor
    assert network(torch.zeros(1, 1, 32, 32)).isfinite().all()


def test_published_numbers_stand_beside_ours_where_the_setting_is_theirs():
    config = the_papers(LLAMA)
    rows = {(row.quantity, row.portion): row for row in beside(config, costs(config))}
    assert set(rows) == {
        ("parameters", "cnn"),
        ("parameters", "layer"),
        ("trainable", "adapters"),
        ("macs", "cnn"),
        ("macs", "booster"),
    }
    assert all(0.97 < row.row()["ratio"] < 1.03 for row in rows.values())
    assert all(row.source for row in rows.values())
    unet = the_papers(LLAMA, backbone="unet")
    found = {(row.quantity, row.portion): row for row in beside(unet, costs(unet))}
    assert found["trainable", "adapters"].row()["ratio"] == pytest.approx(1, abs=0.005)
    assert found["macs", "cnn"].row()["ratio"] == pytest.approx(1, abs=0.005)


def test_of_another_setting_nothing_is_said(config_of):
    assert beside(config_of("llm"), costs(config_of("llm"))) == []
    low_rank = the_papers(LLAMA, arm="llm-lora")
    portions = {row.portion for row in beside(low_rank, costs(low_rank))}
    assert portions == {"cnn"}
