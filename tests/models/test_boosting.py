import copy
from collections import namedtuple

import pytest
import torch
from torch import nn

from llm4seg_probe.errors import ConfigError, SiteError
from llm4seg_probe.models.booster import Booster
from llm4seg_probe.models.insertion import Boosted, boost

Pair = namedtuple("Pair", ["coarse", "fine"])


class Small(nn.Module):
    """A network whose middle returns what it is told to, and counts its passes in a buffer."""

    def __init__(self, wrap=lambda features: features):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.Dropout(0.5))
        self.middle = Middle(wrap)
        self.head = nn.Conv2d(6, 1, 1)
        self.unused = nn.Conv2d(6, 6, 1)
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, images):
        self.passes = self.passes + 1
        produced = self.middle(self.encoder(images))
        if isinstance(produced, dict):
            produced = produced["features"]
        if isinstance(produced, tuple | list):
            produced = produced[0]
        return self.head(produced)


class Middle(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.conv = nn.Conv2d(6, 6, 1)
        self.wrap = wrap
        self.stride = 2

    def forward(self, features):
        return self.wrap(self.conv(features))


@pytest.fixture
def place(tiny_llama):
    def put(network, at, **options):
        shape = options.pop("input_shape", (3, 16, 16))
        return boost(network, at, source=tiny_llama, layer=1, input_shape=shape, **options)

    return put


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


def monai_unet():
    from monai.networks.nets import UNet

    return UNet(2, 3, 2, channels=(4, 8, 16), strides=(2, 2), num_res_units=1)


def monai_dynunet_3d():
    from monai.networks.nets import DynUNet

    return DynUNet(3, 1, 2, [3, 3, 3], [1, 2, 2], [2, 2], filters=[4, 6, 8])


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


def upernet():
    from transformers import ConvNextConfig, UperNetConfig, UperNetForSemanticSegmentation

    stages = ["stage1", "stage2", "stage3", "stage4"]
    backbone = ConvNextConfig(hidden_sizes=[4, 8, 8, 16], depths=[1, 1, 1, 1], out_features=stages)
    config = UperNetConfig(
        backbone_config=backbone,
        hidden_size=8,
        auxiliary_in_channels=8,
        auxiliary_channels=8,
        num_labels=2,
        pool_scales=[1, 2],
    )
    return UperNetForSemanticSegmentation(config)


FOREIGN = {
    "monai UNet": (monai_unet, "model.1.submodule.1.submodule", (3, 32, 32)),
    "monai DynUNet in 3D": (monai_dynunet_3d, "bottleneck", (1, 16, 16, 16)),
    "transformers SegFormer": (segformer, "decode_head.linear_fuse", (3, 64, 64)),
    "transformers UperNet": (upernet, "backbone.hidden_states_norms.stage4", (3, 64, 64)),
}


def logits(network, images):
    produced = network(images)
    return getattr(produced, "logits", produced)


@pytest.mark.parametrize("name", FOREIGN)
def test_networks_that_nobody_here_wrote(name, place):
    make, at, shape = FOREIGN[name]
    torch.manual_seed(0)
    network = make().eval()
    images = noise(2, *shape)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with torch.no_grad():
        plain = logits(network, images)
        boosted = place(network, at, input_shape=shape).eval()
        with_booster = logits(boosted, images)
        assert with_booster.shape == plain.shape
        assert not torch.equal(with_booster, plain)
        assert torch.equal(logits(network, images), plain)
    assert not any(isinstance(module, Boosted) for module in network.modules())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())

    # The booster is the only difference: when it passes features on, the outputs are the same.
    wrapper = boosted.get_submodule(at)
    booster, wrapper.booster = wrapper.booster, nn.Identity()
    with torch.no_grad():
        assert torch.equal(logits(boosted, images), plain)
    wrapper.booster = booster

    loss = (logits(boosted.train(), images) ** 2).mean()
    loss.backward()
    assert booster.adapter1.weight.grad.abs().sum() > 0
    assert all(value.grad is None for value in booster.middle.parameters())


@pytest.mark.parametrize("name", FOREIGN)
def test_a_boosted_network_is_copied_stored_and_loaded(name, place):
    make, at, shape = FOREIGN[name]
    torch.manual_seed(0)
    boosted = place(make(), at, input_shape=shape).eval()
    images = noise(1, *shape)
    with torch.no_grad():
        expected = logits(boosted, images)
        assert torch.equal(logits(copy.deepcopy(boosted), images), expected)
        torch.manual_seed(1)
        again = place(make(), at, input_shape=shape, seed=1).eval()
        assert not torch.equal(logits(again, images), expected)
        assert again.load_state_dict(boosted.state_dict(), strict=True)
        assert torch.equal(logits(again, images), expected)


def test_it_moves_with_to(place):
    boosted = place(monai_unet(), "model.1", input_shape=(3, 32, 32)).to(torch.float64)
    assert {value.dtype for value in boosted.parameters()} == {torch.float64}
    assert boosted(noise(1, 3, 32, 32).double()).dtype == torch.float64
    assert {value.device.type for value in boosted.to("meta").parameters()} == {"meta"}


@pytest.mark.parametrize("arm", ["llm", "mlp"])
def test_it_exports(arm, place):
    boosted = place(Small(), "middle", arm=arm).eval()
    images = noise(2, 3, 16, 16)
    with torch.no_grad():
        exported = torch.export.export(boosted, (images,)).module()
        torch.testing.assert_close(exported(images), boosted(images))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own compiler
@pytest.mark.parametrize("arm", ["llm", "mlp"])
def test_it_compiles(arm, place):
    boosted = place(Small(), "middle", arm=arm).eval()
    images = noise(2, 3, 16, 16)
    with torch.no_grad():
        compiled = torch.compile(boosted, fullgraph=True)
        torch.testing.assert_close(compiled(images), boosted(images), rtol=1e-4, atol=1e-5)


def test_it_compiles_in_one_graph(place):
    boosted = place(Small(), "middle").eval()
    images = noise(2, 3, 16, 16)
    with torch.no_grad():
        compiled = torch.compile(boosted, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(images), boosted(images))


@pytest.mark.parametrize("arm", ["llm", "adapters"])
def test_one_booster_takes_any_grid(arm, place):
    boosted = place(Small(), "middle", arm=arm).eval()
    for height, width in ((16, 16), (8, 24), (2, 2)):
        assert boosted(noise(1, 3, height, width)).shape == (1, 1, height // 2, width // 2)


def test_the_dry_run_leaves_no_trace(place):
    network = Small()
    network.head.eval()
    modes = {name: module.training for name, module in network.named_modules()}
    state = torch.get_rng_state()
    boosted = place(network, "middle")
    assert torch.equal(torch.get_rng_state(), state)
    assert {name: module.training for name, module in network.named_modules()} == modes
    assert not boosted.head.training
    assert boosted.encoder.training
    assert boosted.middle.training
    assert boosted.middle.booster.training
    for one in (network, boosted):
        assert one.passes == 0
        assert one.encoder[1].num_batches_tracked == 0
        assert all(not module._forward_hooks for module in one.modules())


def test_a_failing_dry_run_leaves_no_trace_either(place):
    network = Small()
    with pytest.raises(SiteError, match=r"fails on an image of input_shape \(1, 16, 16\): Given"):
        place(network, "middle", input_shape=(1, 16, 16))
    assert network.training
    assert all(not module._forward_hooks for module in network.modules())


def test_what_the_module_has_the_wrapper_has(place):
    boosted = place(Small(), "middle")
    assert boosted.middle.stride == 2
    assert boosted.middle.conv is boosted.middle.host.conv
    assert boosted.get_submodule("middle.conv") is boosted.middle.conv
    with pytest.raises(AttributeError, match="'Middle' object has no attribute 'nothing'"):
        boosted.middle.nothing  # noqa: B018

    sequence = place(Small(), "encoder")
    assert len(sequence.encoder) == 3
    assert [type(module) for module in sequence.encoder][1] is nn.BatchNorm2d
    assert sequence.encoder[1].num_features == 6


def test_every_name_of_a_module_gets_the_booster(place):
    network = Small()
    network.alias = network.middle
    network.encoder.alias = network.middle
    network.encoder = nn.Sequential(*list(network.encoder)[:3])
    boosted = place(network, "alias")
    assert boosted.alias is boosted.middle
    assert isinstance(boosted.middle, Boosted)


@pytest.mark.parametrize(
    ("wrap", "output", "kind"),
    [
        (lambda x: (x, x.mean()), 0, tuple),
        (lambda x: [x, "other"], -2, list),
        (lambda x: Pair(x, 7), 0, Pair),
        (lambda x: {"features": x, "n": 1}, "features", dict),
    ],
)
def test_one_entry_of_several_is_boosted(wrap, output, kind, place):
    plain = Small(wrap).eval()
    boosted = place(plain, "middle", output=output).eval()
    features = noise(1, 6, 4, 4)
    before, after = plain.middle(features), boosted.middle(features)
    assert type(after) is kind
    entry = before[output]
    assert torch.equal(after[output], boosted.middle.booster(entry))
    others = list(before.items()) if kind is dict else list(before)
    kept = list(after.items()) if kind is dict else list(after)
    assert len(kept) == len(others)
    assert kept[-1] == others[-1]
    assert boosted(noise(1, 3, 16, 16)).shape == (1, 1, 8, 8)


@pytest.mark.parametrize(
    ("at", "wrap", "options", "message"),
    [
        ("midle", None, {}, r"^unknown module 'midle'. Did you mean 'middle'\? Valid: middle, mid"),
        ("", None, {}, "^unknown module ''"),
        ("unused", None, {}, "module 'unused' is called 0 times in one forward pass"),
        (
            "middle",
            lambda x: (x, 1),
            {},
            r"returns a tuple: say with output=… which entry is boosted \(0: a tensor of shape "
            r"\(1, 6, 8, 8\), 1: a int\)",
        ),
        (
            "middle",
            lambda x: (x, 1),
            {"output": 1},
            "module 'middle' returns a int; a booster goes",
        ),
        ("middle", lambda x: (x, 1), {"output": 2}, "a tuple of 2, which has no entry 2"),
        ("middle", None, {"output": "a"}, r"a tensor of shape \(1, 6, 8, 8\), which has no entry"),
    ],
)
def test_where_no_booster_can_go_is_said(at, wrap, options, message, place):
    network = Small(wrap) if wrap else Small()
    with pytest.raises(SiteError, match=message):
        place(network, at, **options)


def test_tokens_are_no_grid(place):
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        image_size=32,
    )
    with pytest.raises(SiteError, match=r"returns a tensor of shape \(1, 5, 8\); a booster goes"):
        place(ViTModel(config), "layernorm", input_shape=(3, 32, 32))


def test_a_module_whose_output_goes_elsewhere_is_refused(place):
    with pytest.raises(SiteError, match=r"'backbone.encoder.stages.3' runs, but nothing that the"):
        place(upernet(), "backbone.encoder.stages.3", input_shape=(3, 64, 64))


def test_weights_that_are_zero_at_first_are_no_reason_to_refuse(place):
    network = Small()
    nn.init.zeros_(network.head.weight)
    assert place(network, "middle").middle.booster.adapter1.in_features == 6


def test_a_module_that_runs_twice_is_refused(place):
    network = Small(lambda x: x)
    network.encoder = nn.Sequential(network.encoder, network.middle)
    with pytest.raises(SiteError, match="'middle' is called 2 times"):
        place(network, "middle")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arm": "lmm"}, "unknown arm 'lmm'. Did you mean 'llm'"),
        ({"arm": "cnn"}, "unknown arm 'cnn'"),
        (
            {"input_shape": (1, 3, 16, 16, 16)},
            r"is \(1, 3, 16, 16, 16\): give that of one",
        ),
        ({"positon": "rope"}, "boost: positon: unknown field 'positon'. Did you mean 'position'"),
        ({"position": "ropes"}, "boost: position: unknown value 'ropes'. Did you mean 'rope'"),
    ],
)
def test_options_that_there_are_not_are_refused(options, message, place):
    with pytest.raises(ConfigError, match=message):
        place(Small(), "middle", **options)


def test_the_layout_of_the_features_is_kept():
    booster = Booster(6, 4, Through())
    features = noise(2, 6, 4, 5)
    assert booster(features).is_contiguous()
    last = features.to(memory_format=torch.channels_last)
    assert booster(last).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(booster(last), booster(features))


class Through(nn.Module):
    def forward(self, tokens, grid):
        return tokens


def test_tokens_are_in_raster_order():
    """A slow twin: each position on its own, in the order of rows."""
    seen = []

    class Watch(nn.Module):
        def forward(self, tokens, grid):
            seen.append((tokens, grid))
            return tokens

    booster = Booster(3, 4, Watch())
    for grid in ((2, 3), (2, 3, 2)):
        features = noise(1, 3, *grid)
        boosted = booster(features)
        tokens, told = seen.pop()
        assert told == grid
        positions = [tuple(p) for p in torch.cartesian_prod(*map(torch.arange, grid)).tolist()]
        for n, position in enumerate(positions):
            here = (0, slice(None), *position)
            torch.testing.assert_close(tokens[0, n], booster.adapter1(features[here]))
            torch.testing.assert_close(boosted[here], booster.adapter2(tokens[0, n]))
