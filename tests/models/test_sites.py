import copy

import pytest
import torch
from torch import nn

from llm4seg_probe.arms import ARMS
from llm4seg_probe.errors import SiteError
from llm4seg_probe.models.insertion import boost
from llm4seg_probe.models.network import build_network
from llm4seg_probe.models.sites import SitePoint, find_site, sites_of

ENCODER = [f"encoder.{k}" for k in range(1, 6)]
DECODER = [f"decoder.{k}" for k in range(4, 0, -1)]


def read(network, images, names):
    """What each site holds in one pass, by a hook on the module that its point names."""
    seen, hooks = {}, []
    for name in names:
        point = find_site(network, name)

        def hook(module, inputs, output, name=name, point=point):
            seen[name] = point.tensor(inputs, output)

        hooks.append(network.get_submodule(point.module).register_forward_hook(hook))
    with torch.no_grad():
        seen["returned"] = network(images)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("arm", ARMS)
def test_each_arm_has_the_sites_that_its_booster_has(arm, config_of):
    middle = ["before", "tokens", "attention", "layer", "after"]
    if arm == "cnn":
        middle = ["before", "after"]
    if arm in ("adapters", "mlp"):
        middle = ["before", "tokens", "after"]
    if ARMS[arm].mixed:  # each of the layers side by side has an attention half of its own
        middle = ["before", "tokens", "layer", "after"]
    sites = sites_of(build_network(config_of(arm)))
    assert list(sites) == [*ENCODER, *middle, *DECODER, "logits"]
    tokens = [name for name, point in sites.items() if point.tokens]
    assert tokens == [name for name in ("tokens", "attention", "layer") if name in middle]


def test_sites_of_the_plain_network_hold_what_they_say(config_of, images):
    network = build_network(config_of("cnn")).eval()
    seen = read(network, images, sites_of(network))
    assert torch.equal(seen["logits"], seen["returned"])
    assert torch.equal(seen["before"], seen["after"])
    assert torch.equal(seen["before"], seen["encoder.5"])
    sides = {name: seen[name].shape[-1] for name in seen}
    for k in range(1, 5):
        assert sides[f"encoder.{k}"] == sides[f"decoder.{k}"] == 32 // 2 ** (k - 1)


def test_sites_of_the_booster_hold_what_they_say(config_of, images):
    network = build_network(config_of("llm")).eval()
    booster = network.encoder5.booster
    seen = read(network, images, sites_of(network))
    with torch.no_grad():
        assert torch.equal(seen["before"], seen["encoder.5"])
        assert torch.equal(seen["after"], booster(seen["before"]))
        tokens = booster.adapter1(seen["before"].flatten(2).transpose(1, 2))
        assert torch.equal(seen["tokens"], tokens)
        assert torch.equal(seen["layer"], booster.middle(tokens, (2, 2)))
        attended = (
            tokens
            + booster.middle.layers[0].self_attn(
                booster.middle.layers[0].input_layernorm(tokens),
                position_embeddings=(
                    torch.arange(4.0)[None, :, None].sin(),
                    torch.arange(4.0)[None, :, None].cos(),
                ),
                attention_mask=None,
                is_causal=True,
            )[0]
        )
        torch.testing.assert_close(seen["attention"], attended)
    point = find_site(network, "layer")
    assert network.get_submodule(point.booster) is booster


def test_bypassed_halves_leave_the_stream_as_it_is(config_of, images):
    inside = ["tokens", "attention", "layer"]
    seen = read(build_network(config_of("attention-only")).eval(), images, inside)
    assert torch.equal(seen["attention"], seen["layer"])
    assert not torch.equal(seen["attention"], seen["tokens"])
    seen = read(
        build_network(config_of("mlp-only")).eval(), images, ["tokens", "attention", "layer"]
    )
    assert torch.equal(seen["attention"], seen["tokens"])


def test_several_layers_are_read_after_the_last(config_of, images):
    network = build_network(config_of("llm", layer=(1, 3), final_norm=True)).eval()
    seen = read(network, images, ["layer"])
    decoder = network.encoder5.booster.middle
    with torch.no_grad():
        tokens = read(network, images, ["tokens"])["tokens"]
        assert torch.equal(decoder.norm(seen["layer"]), decoder(tokens, (2, 2)))


def test_sites_survive_copying_and_boosting_afterwards(config_of, tiny_llama):
    plain = build_network(config_of("cnn"))
    boosted = boost(plain, "encoder5", source=tiny_llama, layer=2, input_shape=(1, 32, 32))
    built = build_network(config_of("llm"))
    assert sites_of(boosted) == sites_of(built) == sites_of(copy.deepcopy(built))
    assert list(sites_of(plain)) == [*ENCODER, "before", "after", *DECODER, "logits"]


def test_a_network_from_outside_has_the_booster_s_sites(tiny_llama):
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1))
    assert list(sites_of(network)) == ["logits"]
    boosted = boost(network, "0", source=tiny_llama, layer=1, input_shape=(3, 4, 4))
    assert list(sites_of(boosted)) == ["before", "tokens", "attention", "layer", "after", "logits"]
    twice = boost(boosted, "1", source=tiny_llama, layer=1, input_shape=(3, 4, 4), arm="mlp")
    assert [name for name in sites_of(twice) if "." in name] == [
        "before.1",
        "tokens.1",
        "attention.1",
        "layer.1",
        "after.1",
        "before.2",
        "tokens.2",
        "after.2",
    ]
    seen = read(twice, torch.ones(1, 3, 4, 4), sites_of(twice))
    assert torch.equal(seen["after.2"], seen["logits"])


def test_the_booster_goes_elsewhere_when_the_configuration_says_so(config_of, images):
    at = {"at": "encoder4"}
    plain = build_network(config_of("cnn", backbone=at)).eval()
    seen = read(plain, images, ["before", "encoder.4"])
    assert torch.equal(seen["before"], seen["encoder.4"])
    boosted = build_network(config_of("llm", backbone=at)).eval()
    assert read(boosted, images, ["after"])["after"].shape == (2, 8, 4, 4)


def test_the_entry_that_is_boosted_is_what_before_means():
    point = SitePoint("", entry=1)
    assert torch.equal(point.tensor((), (torch.zeros(1), torch.ones(1))), torch.ones(1))
    assert torch.equal(
        SitePoint("", "input").tensor((torch.ones(1), 2), torch.zeros(1)), torch.ones(1)
    )
    assert torch.equal(SitePoint("").tensor((), {"logits": torch.ones(1)}), torch.ones(1))


def test_any_module_is_a_site(config_of):
    network = build_network(config_of("llm"))
    assert find_site(network, "Up5.up") == SitePoint("Up5.up")
    inside = "encoder5.booster.middle.layers.0.mlp"
    assert find_site(network, inside) == SitePoint(inside, booster="encoder5.booster")


def test_unknown_sites_are_said_with_the_nearest(config_of):
    network = build_network(config_of("llm"))
    with pytest.raises(SiteError, match=r"^unknown site 'befor'. Did you mean 'before'\? Valid: b"):
        find_site(network, "befor")
    with pytest.raises(SiteError, match=r"'Up_conv55'. Did you mean 'Up_conv5'\?.*path of any mod"):
        find_site(network, "Up_conv55")


def test_what_is_no_tensor_is_said():
    with pytest.raises(SiteError, match="the output of module 'a' is a tuple, not a tensor: name"):
        SitePoint("a").tensor((), (1, 2))
