"""Mixtures of layers and gates: closed forms, and what the arms share with others."""

import copy
import math

import pytest
import torch

from llm4seg_probe.config import BoosterConfig, Config, validated
from llm4seg_probe.errors import ConfigError, SourceError
from llm4seg_probe.llm.decoder import decoder_of_tensors, load_decoder
from llm4seg_probe.llm.mixing import Mixing, evenly_spaced
from llm4seg_probe.models.booster import Gate
from llm4seg_probe.models.costs import costs
from llm4seg_probe.models.insertion import boost
from llm4seg_probe.models.network import (
    build_network,
    embedded_layer,
    frozen_decoder,
    load_portable_state,
    parameter_groups,
    portable_state,
)
from llm4seg_probe.models.setup_checks import check_setup
from llm4seg_probe.models.sites import sites_of
from llm4seg_probe.study.runs import identity
from llm4seg_probe.training.optimiser import optimiser

MIXED, GATED = ("llm-mix", "random-mix"), ("llm-gated", "random-gated")


def booster_of(network):
    return network.encoder5.booster


def logits(network, images):
    with torch.no_grad():
        return network.eval()(images)


def trained(network, images, steps=3, rate=0.1):
    """The network after a few steps of plain gradient descent."""
    network.train()
    chosen = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=rate)
    for _ in range(steps):
        chosen.zero_grad()
        (network(images) - 1).square().mean().backward()
        chosen.step()
    return network


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_a_mixture_of_one_layer_is_that_layer_bit_for_bit(layer, config_of, images):
    alone = build_network(config_of("llm", layer=layer))
    mixed = build_network(config_of("llm-mix", mixture=(layer,)))
    assert torch.equal(logits(alone, images), logits(mixed, images))
    assert frozen_decoder(alone).fingerprint() == frozen_decoder(mixed).fingerprint()
    # And stays so: a softmax of one number has no gradient.
    pair = [trained(network, images) for network in (alone, mixed)]
    assert torch.equal(logits(pair[0], images), logits(pair[1], images))


def test_a_mixture_is_the_weighted_mean_of_what_its_layers_give_alone(config_of):
    tokens = torch.randn(2, 6, 24, generator=torch.Generator().manual_seed(0))
    source = config_of("llm").booster.source
    mixture = load_decoder(BoosterConfig(source=source, mixture=(3, 1)), mixed=True)
    alone = [load_decoder(BoosterConfig(source=source, layer=layer)) for layer in (3, 1)]
    share = 0.8
    with torch.no_grad():
        mixture.mixing.logits.copy_(torch.tensor([math.log(share / (1 - share)), 0.0]))
        third, first = (decoder(tokens, (2, 3)) for decoder in alone)
        expected = share * third + (1 - share) * first
        torch.testing.assert_close(mixture(tokens, (2, 3)), expected)


@pytest.mark.parametrize("start", [[0.0, 0.0, 0.0], [3.0, -200.0, 1.0], [90.0, 89.0, -5.0]])
def test_weights_are_convex(start):
    mixing = Mixing((1, 2, 3))
    torch.testing.assert_close(mixing.weights.detach(), torch.full((3,), 1 / 3))
    mixing.logits.data = torch.tensor(start)
    assert (mixing.weights >= 0).all()
    assert mixing.weights.sum().item() == pytest.approx(1)
    stream = torch.randn(1, 4, 2)
    torch.testing.assert_close(mixing([stream, stream, stream]), stream)


@pytest.mark.parametrize("arm", GATED)
def test_a_closed_gate_is_the_plain_network_exactly(arm, config_of, images):
    plain, gated = build_network(config_of("cnn")), build_network(config_of(arm))
    assert torch.equal(logits(plain, images), logits(gated, images))
    before, after = (booster_of(gated).gate.opening.item() for _ in range(2))
    assert before == after == 0


def test_a_gate_opens_as_a_hyperbolic_tangent():
    gate, features, boosted = Gate(), torch.ones(2), torch.full((2,), 3.0)
    gate.raw.data = torch.tensor(0.7)
    torch.testing.assert_close(gate(features, boosted), 1 + math.tanh(0.7) * boosted)
    gate.raw.data = torch.tensor(50.0)
    torch.testing.assert_close(gate(features, boosted), features + boosted)


@pytest.mark.parametrize("arm", [*MIXED, *GATED])
def test_gradients_reach_weights_and_gates_and_no_layer(arm, config_of, images):
    network = build_network(config_of(arm))
    booster = booster_of(network)
    frozen = [tensor.clone() for tensor in booster.frozen_tensors()]
    assert frozen
    before = [parameter.detach().clone() for parameter in booster.gates()]
    assert len(before) == 1
    trained(network, images)
    for parameter, start in zip(booster.gates(), before, strict=True):
        assert parameter.grad.abs().sum() > 0
        assert not torch.equal(parameter, start)
    assert all(
        torch.equal(tensor, start)
        for tensor, start in zip(booster.frozen_tensors(), frozen, strict=True)
    )
    assert frozen_decoder(network).fingerprint() == frozen_decoder(network).identity.sha256


def test_uniform_weights_stay_and_are_not_stored(config_of, images):
    network = trained(build_network(config_of("llm-mix", mix_weights="uniform")), images)
    weights = booster_of(network).mixing.weights
    assert torch.equal(weights, torch.full_like(weights, 1 / len(weights)))
    assert parameter_groups(network)["gates"] == []
    assert not any("mixing" in name for name in portable_state(network))


def test_gates_are_a_part_of_their_own_without_weight_decay(config_of):
    config = config_of("llm-mix")
    options = config.training.optimiser.model_copy(update={"gates_lr": 0.5, "weight_decay": 0.1})
    groups = {
        group["name"]: group
        for group in optimiser(options, parameter_groups(build_network(config))).param_groups
    }
    assert list(groups) == ["cnn", "adapters", "gates"]
    assert (groups["gates"]["lr"], groups["gates"]["weight_decay"]) == (0.5, 0.0)
    assert groups["cnn"]["weight_decay"] == 0.1


@pytest.mark.parametrize("arm", ["random-mix", "random-gated"])
def test_random_counterparts_come_from_the_seed_alone(arm, config_of):
    def layers(seed, **options):
        return frozen_decoder(build_network(config_of(arm, seed, **options))).fingerprint()

    torch.manual_seed(1)
    first = layers(0)
    torch.manual_seed(2)
    assert layers(0) == first != layers(1)


def test_counterparts_have_the_same_shapes(config_of):
    for pretrained, drawn in (("llm-mix", "random-mix"), ("llm-gated", "random-gated")):
        states = [build_network(config_of(arm)).state_dict() for arm in (pretrained, drawn)]
        shapes = [{name: tensor.shape for name, tensor in state.items()} for state in states]
        assert shapes[0] == shapes[1]


def test_disjoint_subsets_of_a_random_mixture_are_other_draws(config_of):
    """As they are other layers in the pre-trained one; else their spread would be none."""

    def drawn(*layers):
        decoder = frozen_decoder(build_network(config_of("random-mix", mixture=layers)))
        weights = [block.get_submodule("mlp").up_proj.weight for block in decoder.blocks]
        return dict(zip(layers, weights, strict=True))

    first, second, both = drawn(1, 2), drawn(3), drawn(2, 3)
    assert len({tensor.sum().item() for tensor in (*first.values(), *second.values())}) == 3
    assert torch.equal(both[2], first[2])
    assert torch.equal(both[3], second[3])


@pytest.mark.parametrize(
    ("layer", "depth", "expected"),
    [
        (15, 30, (3, 9, 15, 21, 27)),
        (1, 30, (1, 7, 13, 19, 25)),
        (30, 30, (6, 12, 18, 24, 30)),
        (15, 16, (3, 7, 11, 15)),
        (2, 4, (1, 2, 3, 4)),
        (1, 1, (1,)),
    ],
)
def test_layers_are_spread_evenly_through_the_configured_one(layer, depth, expected):
    assert evenly_spaced(layer, depth) == expected


def test_a_mixture_that_is_not_named_goes_by_the_layer(config_of):
    network = build_network(config_of("llm-mix", layer=-1))
    assert frozen_decoder(network).identity.layers == booster_of(network).mixing.layers
    assert frozen_decoder(network).identity.layers == (1, 2, 3)
    named = build_network(config_of("llm-mix", mixture=(-1, 1)))
    assert booster_of(named).mixing.layers == (3, 1)


@pytest.mark.parametrize("arm", [*MIXED, *GATED])
def test_state_and_embedded_layer_make_the_network_again(arm, config_of, images):
    config = config_of(arm)
    network = trained(build_network(config), images)
    expected = logits(network, images)
    state = copy.deepcopy(portable_state(network))
    again = build_network(config)
    load_portable_state(again, state)
    assert torch.equal(logits(again, images), expected)

    embedded = embedded_layer(network)
    assert not any("mixing" in name for name in embedded["tensors"])
    decoder = decoder_of_tensors(
        config.booster, embedded["values"], embedded["tensors"], mixed=arm in MIXED
    )
    assert decoder.identity.sha256 == frozen_decoder(network).identity.sha256
    without_source = build_network(config, decoder)
    load_portable_state(without_source, state)
    assert torch.equal(logits(without_source, images), expected)


def test_sites_of_a_mixture(config_of, images):
    network = build_network(config_of("llm-mix")).eval()
    sites = sites_of(network)
    assert "attention" not in sites
    assert sites["layer"].module == "encoder5.booster.middle.mixing"
    gated = sites_of(build_network(config_of("llm-gated")))
    assert {"before", "tokens", "attention", "layer", "after"} <= set(gated)


def test_costs_count_every_layer_and_what_is_learned(config_of):
    one, mixed = (costs(config_of(arm)) for arm in ("llm", "llm-mix"))
    assert mixed.part("layer").macs == 3 * one.part("layer").macs
    assert mixed.part("layer").frozen == 3 * one.part("layer").parameters
    assert mixed.part("layer").trainable == 3
    gated = costs(config_of("llm-gated"))
    assert gated.total.trainable == one.total.trainable + 1
    for arm in (*MIXED, *GATED):
        config = config_of(arm)
        assert check_setup(config, build_network(config)).sentences == ()


def test_boost_puts_a_mixture_into_any_network(config_of):
    source = config_of("llm").booster.source
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.Conv2d(8, 1, 1))
    boosted = boost(
        network, "0", source=source, layer=2, input_shape=(1, 8, 8), arm="llm-mix", mixture=[1, 3]
    )
    assert boosted[0].booster.mixing.layers == (1, 3)
    assert boosted(torch.zeros(1, 1, 8, 8)).shape == (1, 1, 8, 8)


def test_layers_in_low_precision_have_exact_weights(config_of):
    config = config_of("llm-mix", layer_precision="bf16")
    network = build_network(config)
    assert frozen_decoder(network).dtype == torch.bfloat16
    assert booster_of(network).mixing.logits.dtype == torch.float32
    assert network(torch.zeros(2, 1, 32, 32)).isfinite().all()


@pytest.mark.parametrize(
    ("arm", "booster", "message"),
    [
        ("llm-mix", {"layer": [1, 2]}, r"booster.layer is \[1, 2\], layers that run one after"),
        ("llm-gated", {"residual": True}, "booster.residual is true, but arm 'llm-gated' adds"),
        ("llm-mix", {"mixture": []}, "mixture"),
    ],
)
def test_what_does_not_fit_an_arm_is_refused(arm, booster, message):
    with pytest.raises(ConfigError, match=message) as refused:
        validated({"arm": arm, "booster": booster}, Config, "here")
    assert "\n" not in str(refused.value)


def test_layers_that_cannot_be_mixed_are_refused(config_of):
    with pytest.raises(ConfigError, match=r"booster.mixture is \[2, -2\], in which layer 2 of"):
        build_network(config_of("llm-mix", mixture=(2, -2)))
    with pytest.raises(SourceError, match=r"layer is 9, but .* has 3 layers"):
        build_network(config_of("llm-mix", mixture=(1, 9)))


def test_runs_from_before_keep_their_folders():
    """Fields that came later do not count at their default, and count where they are set."""
    plain = identity(Config(), "data")
    assert plain == "49cd8292f8028e255736f7b5da55b980a0eb37dfc163e98141b48243828f29c6"
    changed = [
        {"booster": {"mixture": [3, 9]}},
        {"booster": {"mix_weights": "uniform"}},
        {"training": {"optimiser": {"gates_lr": 0.1}}},
    ]
    mixed = [identity(Config(arm="llm-mix", **one), "data") for one in ({}, *changed)]
    assert len(set(mixed)) == 4
    # Nor where they play no part: arms without a mixture or gate are shared between analyses.
    assert {identity(Config(**one), "data") for one in changed} == {plain}
