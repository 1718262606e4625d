"""The booster's options through whole networks: what a single layer promises, seen end to end."""

import math

import pytest
import torch

from llm4seg_probe.config import Config
from llm4seg_probe.llm.decoder import load_decoder
from llm4seg_probe.models.network import (
    build_network,
    load_portable_state,
    parameter_groups,
    portable_state,
)
from llm4seg_probe.models.sites import boosters_of
from llm4seg_probe.training import checkpoint
from llm4seg_probe.training.optimiser import optimiser
from llm4seg_probe.training.train import train

POSITIONS = ("reference", "rope", "axial-rope", "none")


@pytest.fixture
def volume_config(config_of):
    """A narrow SegResNet on 16 x 24 x 32 voxels: a grid of 2 x 3 x 4 tokens."""

    def make(arm="llm", **booster):
        return config_of(
            arm,
            data={"image_size": (16, 24, 32)},
            backbone={"name": "segresnet-3d", "widths": (8, 8 * 2, 8 * 4, 8 * 8)},
            **booster,
        )

    return make


@pytest.fixture
def plane_config(config_of):
    """A narrow CMUNeXt on 32 x 64 pixels: a grid of 2 x 4 tokens."""

    def make(arm="llm", **booster):
        return config_of(arm, data={"image_size": (32, 64)}, **booster)

    return make


@pytest.fixture(params=["2D", "3D"])
def make(request, plane_config, volume_config):
    return plane_config if request.param == "2D" else volume_config


def noise(config, batch=2):
    shape = (batch, config.data.channels, *config.data.image_size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(11))


def booster_of(network):
    ((_, booster),) = boosters_of(network)
    return booster


def through(network, images):
    """Tokens before and after the decoder, their grid, and the logits of one pass."""
    seen = []
    hook = booster_of(network).middle.register_forward_hook(
        lambda module, inputs, output: seen.append((*inputs, output))
    )
    logits = network(images)
    hook.remove()
    ((before, grid, after),) = seen
    return before, grid, after, logits


def turns_by_hand(position, grid, head_dim, theta):
    """Cosine and sine (1, N, head_dim) of each token, in loops over positions and pairs."""
    rows = []
    for n in range(math.prod(grid)):
        place, rest = [], n
        for side in reversed(grid):
            place.insert(0, rest % side)
            rest //= side
        half = []
        for pair in range(head_dim // 2):
            where = {"rope": n, "none": 0, "axial-rope": place[pair % len(grid)]}[position]
            half.append(where / theta ** (2 * pair / head_dim))
        rows.append(half + half)
    angle = torch.tensor(rows)[None]
    return angle.cos(), angle.sin()


@pytest.mark.parametrize("attention", ["causal", "bidirectional"])
@pytest.mark.parametrize("position", ["rope", "axial-rope", "none"])
def test_the_layer_is_transformers_own_with_mask_and_angles_by_hand(
    position, attention, make, tiny_llama
):
    from transformers import AutoModelForCausalLM

    config = make(position=position, attention=attention)
    network = build_network(config).eval()
    theirs = AutoModelForCausalLM.from_pretrained(tiny_llama, attn_implementation="eager")
    with torch.no_grad():
        before, grid, after, _ = through(network, noise(config))
        count = math.prod(grid)
        assert tuple(grid) == ((2, 4) if len(grid) == 2 else (2, 3, 4))
        mask = torch.zeros(1, 1, count, count)
        if attention == "causal":
            mask = mask.masked_fill(torch.ones(count, count).triu(1).bool(), -math.inf)
        angles = turns_by_hand(position, grid, head_dim=6, theta=10_000.0)
        expected = theirs.model.layers[1](
            before, attention_mask=mask, position_embeddings=angles, use_cache=False
        )
    torch.testing.assert_close(after, expected, atol=1e-5, rtol=1e-5)


def test_each_position_encoding_gives_logits_of_its_own(make):
    configs = [make(position=position, attention="bidirectional") for position in POSITIONS]
    with torch.no_grad():
        logits = [build_network(c).eval()(noise(c)) for c in configs]
    for i, one in enumerate(logits):
        assert one.isfinite().all()
        assert one.shape[2:] == configs[i].data.image_size
        assert not any(torch.equal(one, other) for other in logits[i + 1 :])


@pytest.mark.parametrize("position", POSITIONS)
def test_only_without_positions_the_order_of_tokens_does_not_matter(position, make):
    config = make(position=position, attention="bidirectional")
    booster = booster_of(build_network(config)).eval()
    channels = booster.adapter1.in_features
    grid = (2, 4) if len(config.data.image_size) == 2 else (2, 3, 4)
    features = torch.randn((1, channels, *grid), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        turned = booster(features.flip(-1)).flip(-1)
        apart = (turned - booster(features)).abs().max()
    assert (apart < 1e-5) == (position == "none")


@pytest.mark.parametrize("attention", ["causal", "reference", "bidirectional"])
def test_gradients_reach_back_in_raster_order_only_under_a_causal_mask(attention, make):
    config = make(attention=attention)
    network = build_network(config).eval()
    before, _, after, _ = through(network, noise(config, batch=1))
    middle = before.shape[1] // 2
    (gradient,) = torch.autograd.grad(after[0, middle].sum(), before)
    reached = gradient[0].abs().sum(-1) > 0
    assert reached[: middle + 1].all()
    assert reached[middle + 1 :].all() == reached[middle + 1 :].any()
    assert bool(reached[middle + 1 :].any()) == (attention == "bidirectional")


@pytest.mark.parametrize("arm", ["llm", "transformer", "llm-lora"])
def test_gradient_checkpointing_gives_the_same_gradients(arm, make):
    gradients = []
    for checkpointing in (False, True):
        config = make(arm, gradient_checkpointing=checkpointing, layer=(1, 2))
        network = build_network(config)
        assert booster_of(network).middle.gradient_checkpointing == checkpointing
        network(noise(config)).square().mean().backward()
        gradients.append({n: p.grad for n, p in network.named_parameters() if p.requires_grad})
    plain, again = gradients
    assert plain.keys() == again.keys()
    for name, gradient in plain.items():
        assert torch.equal(gradient, again[name]), name
    assert next(iter(plain.values())).abs().sum() > 0


def test_a_batch_of_one_is_its_share_of_a_batch(make):
    config = make()
    network = build_network(config).eval()
    images = noise(config, batch=3)
    with torch.no_grad():
        together = network(images)
        alone = torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-5)
    loss = network.train()(images[:1]).square().mean()
    loss.backward()
    assert booster_of(network).adapter1.weight.grad.abs().sum() > 0


def test_several_layers_run_one_after_the_other(make):
    both = build_network(make(layer=(2, 3))).eval()
    second, third = (booster_of(build_network(make(layer=n))).middle for n in (2, 3))
    config = make(layer=(2, 3))
    with torch.no_grad():
        before, grid, after, _ = through(both, noise(config))
        torch.testing.assert_close(after, third(second(before, grid), grid))
        assert not torch.allclose(after, second(third(before, grid), grid))
    assert booster_of(both).middle.identity.layers == (2, 3)


def test_a_negative_index_counts_from_the_end_to_the_bit(make):
    config = make()
    with torch.no_grad():
        last, named = (
            build_network(make(layer=layer)).eval()(noise(config)) for layer in ((-2, -1), (2, 3))
        )
    assert torch.equal(last, named)


def test_rates_and_decays_reach_the_parameters_of_their_part(config_of):
    network = build_network(config_of("transformer"))
    options = Config(
        training={
            "optimiser": {
                "lr": 0.1, "adapters_lr": 0.01, "layer_lr": 0.001,
                "weight_decay": 0.2, "adapters_weight_decay": 0.0, "layer_weight_decay": 0.4,
            }
        }
    ).training.optimiser  # fmt: skip
    groups = optimiser(options, parameter_groups(network)).param_groups
    settings = {
        id(parameter): (group["lr"], group["weight_decay"])
        for group in groups
        for parameter in group["params"]
    }
    for name, parameter in network.named_parameters():
        if ".booster.middle." in name:
            expected = (0.001, 0.4)
        elif ".booster.adapter" in name:
            expected = (0.01, 0.0)
        else:
            expected = (0.1, 0.2)
        assert settings[id(parameter)] == expected, name


@pytest.fixture
def trainable(tiny_config, tiny_llama):
    """One epoch of real training of an arm, with these options of the optimiser."""

    def make(arm, **options):
        values = tiny_config.model_dump()
        values |= {"arm": arm}
        values["booster"] |= {"source": tiny_llama, "layer": [1, -1]}
        values["training"] |= {"epochs": 1}
        values["training"]["optimiser"] |= {"name": "sgd", "lr": 0.1, **options}
        return Config.model_validate(values)

    return make


@pytest.mark.parametrize("part", ["adapters", "layer"])
def test_a_part_whose_rate_is_next_to_nothing_stays_where_it_was(part, trainable, tmp_path):
    config = trainable("transformer", **{f"{part}_lr": 1e-30})
    before = portable_state(build_network(config))
    after = checkpoint.read_run(train(config, tmp_path / "run"))["state"]
    parts = {"adapters": ".booster.adapter", "layer": ".booster.middle."}
    for name, tensor in after.items():
        if parts[part] in name:
            assert torch.equal(tensor, before[name]), name
        elif name.endswith("weight"):
            assert not torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("arm", ["llm", "random-frozen", "shuffled-frozen", "llm-lora"])
def test_a_frozen_layer_has_its_hash_after_a_real_training(arm, trainable, tmp_path):
    config = trainable(arm, weight_decay=0.5)
    content = checkpoint.read_run(train(config, tmp_path / "run", embed_layer=True))
    weights = {"random-frozen": "random", "shuffled-frozen": "shuffled"}.get(arm, "pretrained")
    original = load_decoder(config.booster, weights=weights, seed=config.seed)
    assert content["layer"]["sha256"] == original.identity.sha256
    tensors = original.state_dict()
    assert content["embedded"]["tensors"].keys() == tensors.keys()
    for name, tensor in content["embedded"]["tensors"].items():
        assert torch.equal(tensor, tensors[name]), name


@pytest.mark.parametrize("arm", ["cnn", "llm", "transformer"])
def test_the_stored_state_is_all_that_differs_between_two_seeds(arm, make):
    """A network of another seed becomes the first by its portable state, in 2D and in 3D."""
    config = make(arm)
    network = build_network(config).eval()
    other = build_network(config.model_copy(update={"seed": 5})).eval()
    images = noise(config)
    with torch.no_grad():
        assert not torch.equal(other(images), network(images))
        load_portable_state(other, portable_state(network))
        assert torch.equal(other(images), network(images))
