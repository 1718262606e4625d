import pytest
import torch
from golden_formula import golden, golden_input, golden_state

from llm4seg_probe.errors import CheckpointError
from llm4seg_probe.models.network import build_network, parameter_groups
from llm4seg_probe.models.reference import LANGUAGE_MODELS, from_reference, our_name
from llm4seg_probe.models.sites import find_site

TOTALS = {
    "cnn": (3_149_185, 3_149_185),
    "llama": (65_021_569, 4_200_065),
    "deepseek": (50_735_233, 3_937_409),
}
SOURCES = {
    "llama": "meta-llama/Llama-3.2-1B",
    "deepseek": "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B",
}
close = {"atol": 1e-4, "rtol": 1e-4}


def effective_rank_and_lsvr(tokens):
    """By SVD in float64, as the golden numbers were made: of the (N, C) matrix of one image."""
    sigma = torch.linalg.svdvals(tokens.double())
    share = sigma / sigma.sum()
    share = share[share > 0]
    return [(-(share * share.log()).sum()).exp().item(), -share[0].log().item()]


def tokens_at(network, sites, image):
    seen, hooks = {}, []
    for site in sites:
        point = find_site(network, site)

        def hook(module, inputs, output, site=site, point=point):
            seen[site] = point.tensor(inputs, output)[0]

        hooks.append(network.get_submodule(point.module).register_forward_hook(hook))
    with torch.no_grad():
        seen["logits"] = network(image)[0]
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("name", ["cnn", "llama", "deepseek"])
def test_the_published_network_comes_out_number_for_number(name):
    fields = golden(name)
    state = golden_state(fields)
    config, network = from_reference({f"module.{key}": value for key, value in state.items()})
    assert not network.training
    assert config.arm == ("cnn" if name == "cnn" else "llm")
    if name in SOURCES:
        assert config.booster.source == SOURCES[name]
        assert config.booster.layers == (15,)

    own = network.state_dict()
    mapped = {our_name(key, boosted=name != "cnn"): shape for key, shape in fields["keys"].items()}
    assert len(mapped) == len(fields["keys"])
    assert {key: list(value.shape) for key, value in own.items()} == mapped
    trainable = sum(p.numel() for group in parameter_groups(network).values() for p in group)
    assert (sum(p.numel() for p in network.parameters()), trainable) == TOTALS[name]

    sites = ["logits"] if name == "cnn" else ["before", "layer", "after"]
    seen = tokens_at(network, sites, golden_input())
    logits = seen["logits"][0]
    torch.testing.assert_close(logits[::16, ::16], torch.tensor(fields["logits_16"]), **close)
    torch.testing.assert_close(logits.mean(), torch.tensor(fields["logits_mean"]), **close)
    torch.testing.assert_close(logits.std(), torch.tensor(fields["logits_std"]), **close)
    if name == "cnn":
        return
    norms = seen["layer"].norm(dim=-1)
    torch.testing.assert_close(norms, torch.tensor(fields["llm_out_token_norms"]), **close)
    mean = seen["after"].mean(0)
    torch.testing.assert_close(mean, torch.tensor(fields["after_mean_map"]), **close)
    for site in ("before", "after"):
        found = effective_rank_and_lsvr(seen[site].flatten(1).T)
        assert found == pytest.approx(fields[f"{site}_er_lsvr"], abs=1e-4, rel=1e-4)


def test_the_language_models_are_known_by_their_shapes_alone():
    keys = golden("deepseek")["keys"]
    state = {key: torch.empty(shape, device="meta") for key, shape in keys.items()}
    widened = dict(state)
    widened["llm4seg.llm.mlp.gate_proj.weight"] = torch.empty(8961, 1536, device="meta")
    with pytest.raises(CheckpointError, match=r"shape \(8961, 1536\). Known: meta-llama/Llama-3.2"):
        from_reference(widened)
    assert set(SOURCES.values()) == set(LANGUAGE_MODELS)


@pytest.fixture
def plain():
    return golden_state(golden("cnn"))


def test_the_configuration_is_the_published_code_s(plain):
    config, network = from_reference(plain)
    assert (config.seed, config.training.epochs, config.training.batch_size) == (41, 300, 8)
    assert config.training.optimiser.name == "sgd"
    assert config.data.normalisation == "reference"
    assert config.booster.attention == "reference"
    again = build_network(config)
    again.load_state_dict(network.state_dict())
    with torch.no_grad():
        image = golden_input()[..., :64, :64]
        assert torch.equal(again.eval()(image), network(image))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stem.conv.0.weight": None}, "no checkpoint of the published code: it lacks 'stem.conv"),
        ({"Up5.up.1.bias": None}, "in 1, the first of them Up5.up.1.bias"),
        ({"strange": torch.zeros(1)}, "in 1, the first of them strange"),
        ({"Up5.up.1.bias": torch.zeros(3)}, "in 1, the first of them Up5.up.1.bias"),
        (
            {"llm4seg.llm.mlp.gate_proj.weight": torch.zeros(4, 2)},
            r"mlp.gate_proj has the shape \(4, 2\)",
        ),
    ],
)
def test_other_state_dicts_are_refused(change, message, plain):
    state = {key: value for key, value in {**plain, **change}.items() if value is not None}
    with pytest.raises(CheckpointError, match=message):
        from_reference(state)


def test_an_arm_that_cannot_be_is_refused(plain):
    with pytest.raises(CheckpointError, match="has no decoder layer: it cannot be of arm 'llm'"):
        from_reference(plain, arm="llm")
