import pytest
from torch import nn

from llm4seg_probe.config import Config
from llm4seg_probe.models.costs import hollow_network
from llm4seg_probe.models.setup_checks import check_setup, freezing, widths
from llm4seg_probe.models.sites import boosters_of


def booster_in(network):
    ((_, booster),) = boosters_of(network)
    return booster


@pytest.mark.parametrize("arm", ["cnn", "mlp", "mlp-only", "llm-trainable", "llm-lora"])
def test_networks_as_they_are_built_show_none(arm, config_of):
    config = config_of(arm)
    found = check_setup(config, hollow_network(config))
    assert found.sentences == ()
    assert found.costs.total.parameters > 0


@pytest.mark.parametrize("arm", ["llm", "llm-lora"])
def test_a_layer_unfrozen_that_should_not_be(arm, config_of):
    network = hollow_network(config_of(arm))
    name, parameter = next(
        (name, value)
        for name, value in booster_in(network).middle.named_parameters()
        if ".lora_" not in name
    )
    parameter.requires_grad_(True)
    (sentence,) = freezing(config_of(arm), network)
    assert f"1 of 9 tensors (encoder5.booster.middle.{name}) of the decoder layer" in sentence
    assert f"are trained, although arm {arm} freezes them" in sentence
    assert "set arm to llm-trainable" in sentence


def test_a_layer_frozen_that_should_not_be(config_of):
    network = hollow_network(config_of("llm-trainable"))
    booster_in(network).middle.requires_grad_(False)
    (sentence,) = freezing(config_of("llm-trainable"), network)
    assert "9 of 9 tensors" in sentence
    assert "are frozen, although arm llm-trainable trains them" in sentence


def test_a_part_outside_the_layer_frozen(config_of):
    network = hollow_network(config_of("llm"))
    booster_in(network).adapter2.bias.requires_grad_(False)
    (sentence,) = check_setup(config_of("llm"), network).sentences
    assert "encoder5.booster.adapter2.bias" in sentence
    assert "outside the decoder layer are frozen" in sentence


@pytest.mark.parametrize(
    ("adapter", "sizes", "said"),
    [
        ("adapter1", (10, 24), ["adapter1 takes 10 channels", "the features of 12"]),
        ("adapter1", (12, 20), ["adapter1 gives 20 channels", "the layer of 24"]),
        ("adapter2", (20, 12), ["adapter2 takes 20 channels", "the layer of 24"]),
        ("adapter2", (24, 13), ["adapter2 gives 13 channels", "the features of 12"]),
    ],
)
def test_adapters_that_do_not_fit(adapter, sizes, said, config_of):
    network = hollow_network(config_of("llm"))
    setattr(booster_in(network), adapter, nn.Linear(*sizes))
    found = check_setup(config_of("llm"), network)
    (sentence,) = found.sentences
    assert found.costs is None
    for part in (*said, "which does not fit", "booster.source", "backbone.widths"):
        assert part in sentence


def test_widths_are_seen_where_features_and_layer_are_as_wide(config_of):
    config = config_of("llm", backbone={"widths": (4, 4, 8, 8, 24)})
    network = hollow_network(config)
    booster_in(network).adapter2 = nn.Linear(24, 5)
    (sentence,) = widths(config, network)
    assert "adapter2 gives 5 channels, which does not fit the features of 24" in sentence


def test_a_layer_that_runs_twice_is_off_its_multiply_accumulates(config_of):
    network = hollow_network(config_of("llm"))
    booster = booster_in(network)
    once = booster.middle.forward
    booster.middle.forward = lambda tokens, grid: once(once(tokens, grid), grid)
    (sentence,) = check_setup(config_of("llm"), network).sentences
    assert "but layer 2 of" in sentence
    assert "on 4 tokens should take" in sentence
    assert "backbone.at" in sentence


def test_far_more_operations_than_the_papers():
    config = Config(
        arm="llm",
        data={"image_size": (512, 512)},
        booster={"source": "meta-llama/Llama-3.2-1B"},
    )
    (sentence,) = check_setup(config, hollow_network(config)).sentences
    assert "the booster adds 67.6 G multiply-accumulates an image on 1024 tokens" in sentence
    assert "about 16 G on 256" in sentence
    assert "data.image_size" in sentence
