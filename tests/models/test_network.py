import copy
import hashlib
from dataclasses import replace

import pytest
import torch

from llm4seg_probe.arms import ARMS
from llm4seg_probe.config import BoosterConfig, Config, validated
from llm4seg_probe.errors import CheckpointError, ConfigError, SiteError, SourceError
from llm4seg_probe.models.booster import build_booster
from llm4seg_probe.models.network import (
    build_network,
    decoder_from_embedded,
    embedded_layer,
    frozen_decoder,
    load_portable_state,
    parameter_groups,
    portable_state,
)

BOOSTED = [arm for arm in ARMS if arm != "cnn"]
FROZEN = [
    "llm",
    "random-frozen",
    "shuffled-frozen",
    "attention-only",
    "mlp-only",
    "llm-lora",
    "llm-mix",
    "random-mix",
    "llm-gated",
    "random-gated",
]


def cnn_of(network):
    """State of the CNN by its own names, whatever stands in it."""
    return {
        name.replace(".host.", "."): tensor
        for name, tensor in network.state_dict().items()
        if ".booster." not in name
    }


def booster_of(network):
    return network.encoder5.booster


def step(network, images):
    """One step of plain gradient descent on a loss that reaches every trainable parameter."""
    network.train()
    before = {name: value.clone() for name, value in network.named_parameters()}
    optimiser = torch.optim.SGD((p for p in network.parameters() if p.requires_grad), lr=0.1)
    (network(images) ** 2).mean().backward()
    optimiser.step()
    return {
        name for name, value in network.named_parameters() if not torch.equal(value, before[name])
    }


def sha256(tensors):
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().numpy().tobytes())
    return digest.hexdigest()


def test_the_arms_are_those_of_the_configuration_in_its_order():
    assert list(ARMS) == list(Config.model_fields["arm"].annotation.__args__)


def test_arms_of_a_seed_share_the_weights_of_the_cnn_bit_for_bit(config_of):
    states = {arm: cnn_of(build_network(config_of(arm))) for arm in ARMS}
    for arm, state in states.items():
        assert state.keys() == states["cnn"].keys()
        assert all(torch.equal(state[name], states["cnn"][name]) for name in state), arm
    other = cnn_of(build_network(config_of("llm", seed=1)))
    assert not torch.equal(other["stem.conv.0.weight"], states["cnn"]["stem.conv.0.weight"])


def test_boosted_arms_of_a_seed_share_the_adapters(config_of):
    adapters = [booster_of(build_network(config_of(arm))).adapter1.weight for arm in BOOSTED]
    assert all(torch.equal(adapter, adapters[0]) for adapter in adapters)
    other = booster_of(build_network(config_of("llm", seed=1))).adapter1.weight
    assert not torch.equal(other, adapters[0])


def test_random_layers_come_from_the_seed_alone(config_of):
    def layer(seed):
        return frozen_decoder(build_network(config_of("random-frozen", seed))).fingerprint()

    torch.manual_seed(1)
    first = layer(0)
    torch.manual_seed(2)
    assert layer(0) == first != layer(1)


def test_building_leaves_the_global_random_state_alone(config_of):
    for arm in ARMS:
        state = torch.get_rng_state()
        build_network(config_of(arm))
        assert torch.equal(torch.get_rng_state(), state), arm


@pytest.mark.parametrize("arm", ARMS)
def test_each_arm_trains_what_it_says_and_nothing_else(arm, config_of, images):
    network = build_network(config_of(arm))
    assert network.training
    assert network(images).shape == (2, 1, 32, 32)
    groups = parameter_groups(network)
    expected = {name for name, value in network.named_parameters() if value.requires_grad}
    assert sum(map(len, groups.values())) == len(expected)
    assert len(groups["adapters"]) == (0 if arm == "cnn" else 4)
    assert bool(groups["layer"]) == (arm in ("llm-trainable", "transformer", "llm-lora"))

    booster = None if arm == "cnn" else booster_of(network)
    frozen = list(booster.frozen_tensors()) if booster else []
    assert bool(frozen) == (arm in FROZEN)
    hash_before = sha256(frozen)
    moved = step(network, images)
    assert sha256(frozen) == hash_before
    # Biases before a normalisation have no gradient; nor has the first LoRA matrix while the
    # second is zero, as it is at first; nor have the adapters behind a gate that is still closed.
    certain = {n for n in expected if n.endswith("weight") and "lora_A" not in n}
    if ARMS[arm].gated:
        certain = {name for name in certain if ".adapter" not in name}
    assert certain <= moved <= expected


def test_a_frozen_layer_stays_in_evaluation_mode(config_of):
    network = build_network(config_of("llm")).train()
    assert not any(module.training for module in booster_of(network).middle.modules())
    assert booster_of(network).adapter1.training
    trained = build_network(config_of("transformer")).train()
    assert all(module.training for module in booster_of(trained).middle.modules())
    assert not any(module.training for module in trained.eval().modules())


def test_shuffled_and_random_layers_are_not_the_pretrained_one(config_of):
    def tensors(arm):
        return dict(booster_of(build_network(config_of(arm))).middle.named_parameters())

    pretrained, shuffled, drawn = map(tensors, ("llm", "shuffled-frozen", "random-frozen"))
    for name, value in pretrained.items():
        assert not torch.equal(shuffled[name], value)
        assert torch.equal(shuffled[name].flatten().sort()[0], value.flatten().sort()[0])
        assert not torch.equal(drawn[name], value)


def test_bypassed_halves_do_not_matter(config_of, images):
    def output(arm, half):
        network = build_network(config_of(arm)).eval()
        with torch.no_grad():
            before = network(images)
            for name, value in booster_of(network).middle.named_parameters():
                if half in name:
                    value.mul_(-3)
            return torch.equal(before, network(images))

    assert output("attention-only", "mlp")
    assert not output("attention-only", "self_attn")
    assert output("mlp-only", "self_attn")
    assert not output("mlp-only", "mlp")
    assert not output("llm", "mlp")


def test_low_rank_adapters_begin_as_nothing_and_are_what_is_trained(config_of, images):
    plain = build_network(config_of("llm")).eval()
    low_rank = build_network(config_of("llm-lora", lora_rank=3)).eval()
    torch.testing.assert_close(low_rank(images), plain(images), rtol=0, atol=0)
    names = [
        name
        for name, value in booster_of(low_rank).middle.named_parameters()
        if value.requires_grad
    ]
    assert len(names) == 2 * 7  # q, k, v, o, gate, up, down
    assert all(".lora_" in name for name in names)
    rank = min(
        booster_of(low_rank).middle.layers[0].self_attn.q_proj.lora_A["default"].weight.shape
    )
    assert rank == 3
    assert any(".lora_" in name for name in portable_state(low_rank))


@pytest.mark.parametrize(
    ("attention", "reaches_back"), [("causal", False), ("bidirectional", True)]
)
def test_causal_attention_is_causal_through_the_booster(attention, reaches_back, config_of):
    booster = booster_of(build_network(config_of("llm", attention=attention))).eval()
    features = torch.randn(1, 12, 4, 5, generator=torch.Generator().manual_seed(0))
    changed = features.clone()
    changed[..., -1, -1] += 1
    with torch.no_grad():
        difference = (booster(changed) - booster(features)).abs().sum(1).flatten()
    assert difference[-1] > 1e-3
    assert bool(difference[:-1].max() > 1e-5) == reaches_back


def test_residual_adds_the_input(config_of):
    features = torch.randn(2, 12, 3, 4, generator=torch.Generator().manual_seed(0))
    plain = booster_of(build_network(config_of("mlp")))
    residual = booster_of(build_network(config_of("mlp", residual=True)))
    torch.testing.assert_close(residual(features), plain(features) + features)


@pytest.mark.parametrize("init", ["pytorch", "xavier", "orthogonal"])
def test_adapters_are_initialised_as_asked(init, config_of):
    booster = booster_of(build_network(config_of("adapters", adapter_init=init)))
    weight = booster.adapter1.weight
    assert weight.shape == (24, 12)
    orthogonal = torch.allclose(weight.T @ weight, torch.eye(12), atol=1e-5)
    assert orthogonal == (init == "orthogonal")
    assert bool(booster.adapter1.bias.any()) == (init == "pytorch")
    if init == "xavier":
        assert weight.abs().max() <= (6 / 36) ** 0.5
        assert weight.abs().max() > 12**-0.5  # wider than PyTorch's own range


def test_low_precision_is_for_frozen_layers(config_of, images):
    frozen = build_network(config_of("llm", layer_precision="bf16"))
    assert frozen_decoder(frozen).dtype == torch.bfloat16
    assert frozen(images).dtype == torch.float32
    low_rank = build_network(config_of("llm-lora", layer_precision="bf16"))
    assert low_rank(images).dtype == torch.float32


@pytest.mark.parametrize("arm", [arm for arm in ARMS if ARMS[arm].trainable])
def test_a_layer_that_is_trained_in_low_precision_is_refused(arm, config_of):
    plain = config_of(arm).model_dump()
    low = {**plain, "booster": {**plain["booster"], "layer_precision": "bf16"}}
    with pytest.raises(ConfigError, match=f"booster.layer_precision is 'bf16', but arm '{arm}' tr"):
        validated(low, Config, "here")
    with pytest.raises(ConfigError, match=f"layer_precision is 'bf16', but arm '{arm}' trains"):
        build_booster(arm, BoosterConfig(**low["booster"]), 4, 0)


@pytest.mark.parametrize("arm", ARMS)
def test_portable_state_round_trip_gives_the_same_bits(arm, config_of, images):
    config = config_of(arm)
    network = build_network(config)
    step(network, images)
    state = {name: tensor.clone() for name, tensor in portable_state(network).items()}
    again = build_network(config)
    load_portable_state(again, state)
    with torch.no_grad():
        assert torch.equal(again.eval()(images), network.eval()(images))
    stored = sum(tensor.numel() for tensor in state.values())
    everything = sum(tensor.numel() for tensor in network.state_dict().values())
    assert (stored < everything) == (arm in FROZEN)


@pytest.mark.parametrize("arm", [arm for arm in ARMS if ARMS[arm].middle == "layer"])
def test_an_embedded_layer_needs_no_source(arm, config_of, images, tmp_path):
    config = config_of(arm)
    network = build_network(config)
    step(network, images)
    content = {"layer": embedded_layer(network), "state": portable_state(network)}
    torch.save(content, tmp_path / "run.pt")
    content = torch.load(tmp_path / "run.pt", weights_only=True)

    gone = config.model_copy(
        update={"booster": config.booster.model_copy(update={"source": "gone/away"})}
    )
    decoder = decoder_from_embedded(gone, content["layer"])
    if not ARMS[arm].trainable:
        identity = frozen_decoder(build_network(config)).identity
        assert decoder.identity == replace(identity, source="gone/away")
    again = build_network(gone, decoder)
    load_portable_state(again, content["state"])
    with torch.no_grad():
        assert torch.equal(again.eval()(images), network.eval()(images))


def test_an_embedded_layer_of_another_size_is_refused(config_of):
    embedded = embedded_layer(build_network(config_of("llm")))
    assert embedded_layer(build_network(config_of("mlp"))) is None
    del embedded["tensors"]["layers.0.mlp.up_proj.weight"]
    with pytest.raises(SourceError, match=r"are not those of layer 2 of a llama with its config"):
        decoder_from_embedded(config_of("llm"), embedded)


def test_a_module_that_is_not_there_is_said_in_every_arm(config_of):
    for arm in ("cnn", "llm"):
        with pytest.raises(SiteError, match=r"unknown module 'encodr5'. Did you mean 'encoder5'"):
            build_network(config_of(arm, backbone={"at": "encodr5"}))


def test_a_state_that_does_not_fit_is_refused_by_name(config_of):
    network = build_network(config_of("llm"))
    before = copy.deepcopy(network.state_dict())
    state = portable_state(network)
    del state["stem.conv.0.weight"]
    state["strange"] = torch.zeros(1)
    state["Conv_1x1.bias"] = torch.zeros(3)
    with pytest.raises(CheckpointError) as error:
        load_portable_state(network, state)
    assert str(error.value) == (
        "the weights do not fit the network: the file lacks stem.conv.0.weight; has in excess "
        "strange; has in another shape Conv_1x1.bias (3,) for (1,)"
    )
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_many_missing_tensors_are_counted(config_of):
    with pytest.raises(CheckpointError, match=r"lacks \S+, \S+, \S+ and \d+ more$"):
        load_portable_state(build_network(config_of("cnn")), {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"backbone": {"name": "cmunet"}},
            "name: unknown backbone 'cmunet'. Did you mean",
        ),
        ({"backbone": {"widths": (4, 8)}}, r"widths has 2 entries, \[4, 8\]; cmunext has 5 stages"),
        ({"data": {"image_size": (40, 32)}}, r"image_size is \[40, 32\], .* multiples of 16"),
        (
            {"data": {"image_size": (32, 32, 32)}},
            "cmunext is 2D. For 3D images there are:",
        ),
        ({"backbone": {"options": {"a": 1}}}, "cmunext has no further options"),
        ({"backbone": {"name": "no.such:thing", "widths": None}}, "be had: No module named"),
        ({"backbone": {"name": "torch.nn:Linear", "widths": None}}, "torch.nn:Linear.*fails"),
        (
            {"backbone": {"name": "builtins:dict", "widths": None}},
            "returns a dict, no torch",
        ),
        (
            {"backbone": {"name": "monai.networks.nets:BasicUNet"}},
            "takes its arguments from backbone.options",
        ),
    ],
)
def test_what_does_not_fit_is_said(change, message, config_of):
    with pytest.raises(ConfigError, match=message):
        build_network(config_of(**change))


def test_a_network_from_outside_is_boosted_through_its_configuration(config_of, images):
    backbone = {
        "name": "monai.networks.nets:BasicUNet",
        "widths": None,
        "at": "down_4",
        "options": {"spatial_dims": 2, "features": (4, 4, 8, 8, 12, 4)},
    }
    network = build_network(config_of("llm", backbone=backbone))
    assert network.down_4.booster.adapter1.in_features == 12
    assert network(images).shape == (2, 1, 32, 32)
    with pytest.raises(ConfigError, match=r"backbone.at is null: name the module of monai"):
        build_network(config_of("llm", backbone={**backbone, "at": None}))
    plain = build_network(config_of("cnn", backbone={**backbone, "at": None}))
    assert plain(images).shape == (2, 1, 32, 32)


def test_the_low_rank_arm_is_a_valid_configuration():
    assert validated({"arm": "llm-lora"}, Config, "here").booster.lora_rank == 8
