from __future__ import annotations

from contextlib import suppress

import pytest
import torch
from torch import nn

from llm4seg_probe.activations import interventions as make
from llm4seg_probe.activations.interventions import intervening
from llm4seg_probe.activations.recorder import record
from llm4seg_probe.errors import SiteError, SourceError
from llm4seg_probe.llm.decoder import load_decoder
from llm4seg_probe.models.insertion import boost
from llm4seg_probe.models.network import build_network
from llm4seg_probe.probes.intervene import catalogue

HEADS = ("1", "2", "3", "4")


def built(config, arm="llm", **booster):
    """A network in eval mode on a 64-pixel grid: sixteen tokens in the layer."""
    options = config.booster.model_copy(update=booster)
    data = config.data.model_copy(update={"image_size": (64, 64)})
    changed = config.model_copy(update={"arm": arm, "booster": options, "data": data})
    return build_network(changed).eval()


@pytest.fixture(scope="module")
def images():
    return torch.randn(3, 1, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def network(tiny_config):
    return built(tiny_config)


def logits(network, images, *interventions, sites=("after",)):
    """Features after the booster, where a change is not thinned out by what follows."""
    with torch.no_grad(), intervening(network, *interventions), record(network, sites) as seen:
        out = network(images)
    return torch.cat([out.flatten(), *(seen[site].flatten() for site in sites)])


def every_intervention(network, images):
    decoder = make.decoder_of(network)[1]
    with torch.no_grad(), record(network, ["before", "after"]) as seen:
        network(images)
    return [
        make.bypass(),
        make.attention_off(),
        make.mlp_off(),
        make.head_off("2"),
        make.permuted(),
        make.mask_exchanged("bidirectional"),
        make.position_exchanged("rope"),
        make.weights_exchanged("random-weights", "", catalogue.random_weights(decoder, 5)),
        make.weights_exchanged("shuffled-weights", "", catalogue.shuffled_weights(decoder, 5)),
        make.patched("before", seen["before"].flip(0)),
        make.patched("after", seen["after"].flip(0)),
        make.low_rank("after", 2),
        make.without_direction("after", 1),
    ]


@pytest.mark.parametrize("raises", [False, True])
def test_every_intervention_changes_the_features_and_leaves_nothing_behind(
    network, images, fingerprint, raises
):
    before, modules = fingerprint(network), list(network.modules())
    pointers = [parameter.data_ptr() for parameter in network.parameters()]
    plain = logits(network, images)
    for intervention in every_intervention(network, images):
        assert not torch.equal(logits(network, images, intervention), plain), intervention.name
        with suppress(ZeroDivisionError), intervening(network, intervention):
            _ = 1 / 0 if raises else None
        assert fingerprint(network) == before
        assert all(a is b for a, b in zip(network.modules(), modules, strict=True))
        assert [parameter.data_ptr() for parameter in network.parameters()] == pointers
    assert torch.equal(logits(network, images), plain)


def test_bypassing_where_there_is_no_layer_changes_no_bit(tiny_config, images):
    adapters = built(tiny_config, "adapters")
    plain = logits(adapters, images)
    assert torch.equal(logits(adapters, images, make.bypass()), plain)
    torch.testing.assert_close(logits(adapters, images, make.permuted()), plain)


def test_a_bypassed_layer_is_the_adapters_arm(tiny_config, network, images):
    adapters = built(tiny_config, "adapters")
    assert torch.equal(logits(network, images, make.bypass()), logits(adapters, images))


@pytest.mark.parametrize(
    ("arm", "intervention"),
    [("mlp-only", make.attention_off()), ("attention-only", make.mlp_off())],
)
def test_a_half_switched_off_is_the_arm_without_it(tiny_config, network, images, arm, intervention):
    other = built(tiny_config, arm)
    assert torch.equal(logits(network, images, intervention), logits(other, images))
    bypassed = logits(other, images, make.attention_off(), make.mlp_off())
    assert torch.equal(bypassed, logits(other, images, make.bypass()))


@pytest.mark.parametrize("layer", [3, (2, 4)])
def test_all_heads_off_is_attention_off(tiny_config, images, layer):
    network = built(tiny_config, layer=layer)
    names = list(make.heads_of(network))
    assert len(names) == (4 if layer == 3 else 8)
    assert names[0] == ("1" if layer == 3 else "2/1")
    off = logits(network, images, *(make.head_off(name) for name in names))
    assert torch.equal(off, logits(network, images, make.attention_off()))


def test_a_head_off_is_a_column_block_of_the_output_projection_set_to_zero(network, images):
    decoder = make.decoder_of(network)[1]
    weights = catalogue.own_weights(decoder)
    name = "layers.0.self_attn.o_proj.weight"
    weights[name] = weights[name].clone()
    weights[name][:, 16:24] = 0  # the third of four heads of size 8
    expected = logits(network, images, make.weights_exchanged("weights", "", weights))
    torch.testing.assert_close(logits(network, images, make.head_off("3")), expected)


def test_permuting_matters_only_where_the_layer_can_tell_places_apart(tiny_config, images):
    blind = built(tiny_config, attention="bidirectional", position="none")
    with torch.no_grad():  # random layers attend to all alike: make them choose
        for name, parameter in blind.named_parameters():
            if name.endswith(("q_proj.weight", "k_proj.weight")):
                parameter.mul_(20)
    plain = logits(blind, images)
    assert (logits(blind, images, make.permuted()) - plain).abs().max() <= 1e-5
    for exchanged in (make.mask_exchanged("causal"), make.position_exchanged("rope")):
        own = logits(blind, images, exchanged)
        assert (logits(blind, images, exchanged, make.permuted()) - own).abs().max() > 1e-4


def test_projection_at_full_rank_changes_nothing_and_below_it_keeps_the_rank(network, images):
    plain = logits(network, images)
    assert (logits(network, images, make.low_rank("after", 16)) - plain).abs().max() <= 1e-5
    with torch.no_grad(), intervening(network, make.low_rank("after", 3)):
        seen = []
        after = network.get_submodule("encoder5")
        with after.register_forward_hook(lambda _m, _i, out: seen.append(out)):
            network(images)
    tokens = seen[0].flatten(2).transpose(1, 2)
    assert torch.linalg.matrix_rank(tokens.double(), rtol=1e-5).tolist() == [3, 3, 3]


def test_mask_and_positions_are_those_of_a_network_built_with_them(tiny_config, network, images):
    for intervention, options in (
        (make.mask_exchanged("bidirectional"), {"attention": "bidirectional"}),
        (make.position_exchanged("axial-rope"), {"position": "axial-rope"}),
    ):
        other = built(tiny_config, **options)
        assert torch.equal(logits(network, images, intervention), logits(other, images))


def test_exchanged_weights_are_those_that_the_arms_would_load(tiny_config, network):
    decoder = make.decoder_of(network)[1]
    for weights, made in (
        ("random", catalogue.random_weights(decoder, 7)),
        ("shuffled", catalogue.shuffled_weights(decoder, 7)),
    ):
        loaded = load_decoder(tiny_config.booster, weights=weights, seed=7).state_dict()
        assert made.keys() == loaded.keys()
        assert all(torch.equal(made[name], loaded[name]) for name in made)


def test_another_layers_weights_make_the_network_of_that_layer(tiny_config, network, images):
    decoder = make.decoder_of(network)[1]
    tensors = catalogue.other_layer_weights(decoder, tiny_config.booster, 2)
    exchanged = make.weights_exchanged("other-layer-weights", "2", tensors)
    other = built(tiny_config, layer=2)
    assert torch.equal(logits(network, images, exchanged), logits(other, images))
    for own in (3, -2):
        with pytest.raises(SourceError, match="is the network's own"):
            catalogue.other_layer_weights(decoder, tiny_config.booster, own)
    several = make.decoder_of(built(tiny_config, layer=(1, 2)))[1]
    with pytest.raises(SourceError, match="stand in for one, not for several"):
        catalogue.other_layer_weights(several, tiny_config.booster, 3)


def test_a_final_norm_is_random_or_shuffled_too_but_stays_with_another_layer(tiny_config):
    options = tiny_config.booster.model_copy(update={"final_norm": True})
    decoder = load_decoder(options)
    assert "norm.weight" in catalogue.random_weights(decoder, 1)
    assert "norm.weight" in catalogue.shuffled_weights(decoder, 1)
    other = catalogue.other_layer_weights(decoder, options, 1)
    assert other["norm.weight"].data_ptr() == decoder.norm.weight.data_ptr()


def test_low_rank_adapters_stay_when_the_weights_beside_them_go(tiny_config, images):
    network = built(tiny_config, "llm-lora")
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.05)
    decoder = make.decoder_of(network)[1]
    random = catalogue.random_weights(decoder, 3)
    exchanged = make.weights_exchanged("random-weights", "", random)
    found = logits(network, images, exchanged)
    plain = built(tiny_config)
    assert not torch.equal(found, logits(plain, images, exchanged))
    off = logits(network, images, *(make.head_off(name) for name in HEADS))
    assert torch.equal(off, logits(network, images, make.attention_off()))


@pytest.mark.parametrize("site", ["encoder.2", "before", "tokens", "attention", "layer", "after"])
def test_an_images_own_activations_put_back_change_no_bit(network, images, site):
    channels_last = images.to(memory_format=torch.channels_last)
    for seen_images in (images, channels_last):
        with torch.no_grad(), record(network, [site]) as seen:
            plain = network(seen_images)
        with torch.no_grad(), intervening(network, make.patched(site, seen[site])):
            assert torch.equal(network(seen_images), plain)


def test_patched_features_go_on_as_the_other_images(network, images):
    with torch.no_grad(), record(network, ["before", "after"]) as other:
        network(images.flip(0))
    patch = make.patched("before", other["before"])
    with torch.no_grad(), intervening(network, patch), record(network, ["after"]) as seen:
        network(images)
    assert torch.equal(seen["after"], other["after"])


def test_interventions_nest_in_any_order(network, images):
    pairs = [make.permuted(), make.bypass()]
    plain = logits(network, images, make.bypass())
    for order in (pairs, pairs[::-1]):
        assert torch.equal(logits(network, images, *order), plain)
    with intervening(network, make.bypass()):
        assert torch.equal(logits(network, images, make.head_off("1")), plain)


def test_what_is_not_there_is_named_and_nothing_is_changed(
    tiny_config, network, images, fingerprint
):
    before = fingerprint(network)
    cnn = built(tiny_config, "cnn")
    for where, intervention, message in [
        (network, make.low_rank("aftr", 2), "unknown site 'aftr'. Did you mean 'after'"),
        (network, make.head_off("9"), "no head '9': the network has 1, 2, 3, 4"),
        (cnn, make.bypass(), "no booster whose middle"),
        (cnn, make.head_off("1"), "no decoder layer: this intervention acts on the layers of one"),
        (network, make.weights_exchanged("w", "", {}), "w: these weights are not those"),
    ]:
        first = make.low_rank("after", 1)
        with pytest.raises(SiteError, match=message), intervening(where, first, intervention):
            pass
    assert fingerprint(network) == before


def test_it_works_on_anybodys_network_in_3d(tiny_llm):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = nn.Sequential(nn.Conv3d(1, 6, 4, stride=4), nn.Conv3d(6, 2, 1))
    network = boost(plain, "0", source=str(tiny_llm), layer=2, input_shape=(1, 8, 12, 8)).eval()
    volumes = torch.randn(2, 1, 8, 12, 8, generator=torch.Generator().manual_seed(0))
    before = logits(network, volumes)
    assert (logits(network, volumes, make.low_rank("after", 6)) - before).abs().max() <= 1e-5
    for intervention in (make.bypass(), make.head_off("1"), make.low_rank("after", 1)):
        assert not torch.equal(logits(network, volumes, intervention), before)
    assert torch.equal(logits(network, volumes), before)
