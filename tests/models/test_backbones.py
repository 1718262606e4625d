import copy

import pytest
import torch
from golden_formula import golden
from monai.networks.nets.mednext import create_mednext

from llm4seg_probe.config import Config
from llm4seg_probe.errors import ConfigError
from llm4seg_probe.models.backbones import BACKBONES
from llm4seg_probe.models.network import build_network, load_portable_state, portable_state
from llm4seg_probe.models.sites import find_site, sites_of

NARROW = {
    "segresnet-3d": (8, 16, 32, 64),
    **{f"mednext-{size}": (2, 4, 8, 16, 32) for size in "sbml"},
}
LARGE = {"dynunet-3d", "mednext-b", "mednext-m", "mednext-l", "uxnet-3d"}
CASES = [
    pytest.param(name, arm, marks=[pytest.mark.slow] * (name in LARGE))
    for name in BACKBONES
    for arm in ("cnn", "llm", "transformer")
]


@pytest.fixture
def config_for(tiny_llama):
    """A narrow network of a backbone on the smallest image that it takes."""

    def make(name, arm="cnn", image_size=None, **backbone):
        row = BACKBONES[name]
        side = 2 * row.stride  # instance norms need more than one position
        widths = NARROW.get(name, tuple(range(4, 4 + 2 * len(row.widths), 2)))
        return Config(
            arm=arm,
            data={
                "image_size": image_size or (side,) * row.dimensions,
                "channels": 1,
                "classes": ("a", "b"),
            },
            backbone={"name": name, "widths": widths, **backbone},
            booster={"source": tiny_llama, "layer": 1},
        )

    return make


def image_for(config, batch=1):
    shape = (batch, config.data.channels, *config.data.image_size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("name", BACKBONES)
def test_the_parameter_count_is_the_published_one_or_says_why_not(name):
    row = BACKBONES[name]
    with torch.device("meta"):
        network = row.build(row.channels, row.classes, row.widths, False)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert row.source
    if row.parameters is not None:
        apart = abs(count / row.parameters - 1)
        assert (apart > 0.01) == bool(row.note), f"{count:,} against {row.parameters:,}"


def test_the_published_count_of_cmunext_is_that_of_the_golden_file():
    shapes = golden("cnn")["keys"]
    counted = sum(
        torch.Size(shape).numel()
        for key, shape in shapes.items()
        if "running_" not in key and "num_batches" not in key
    )
    assert BACKBONES["cmunext"].parameters == counted


@pytest.mark.parametrize("size", ["S", "B", "M", "L"])
def test_mednext_is_that_of_monai(size):
    row = BACKBONES[f"mednext-{size.lower()}"]
    with torch.device("meta"):
        ours = row.build(1, 14, row.widths, True)
        theirs = create_mednext(size, 3, 1, 14, kernel_size=3, deep_supervision=True)
    shapes = [{n: tuple(v.shape) for n, v in net.state_dict().items()} for net in (ours, theirs)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(("name", "arm"), CASES)
def test_it_trains_a_step_and_its_state_gives_the_same_bits(name, arm, config_for):
    config = config_for(name, arm)
    image = image_for(config)
    network = build_network(config)
    head = next(reversed(list(network.parameters())))
    before = head.detach().clone()
    optimiser = torch.optim.SGD((p for p in network.parameters() if p.requires_grad), lr=0.01)
    (network(image) ** 2).mean().backward()
    optimiser.step()
    assert not torch.equal(head, before)

    network.eval()
    again = build_network(config)
    load_portable_state(again, portable_state(network))
    with torch.no_grad():
        logits = network(image)
        assert logits.shape == (1, 2, *config.data.image_size)
        assert torch.equal(again.eval()(image), logits)


@pytest.mark.parametrize("name", BACKBONES)
def test_its_sites_are_where_they_say(name, config_for):
    config = config_for(name)
    row = BACKBONES[name]
    network = build_network(config).eval()
    seen, order = {}, []
    for site in sites_of(network):
        point = find_site(network, site)

        def hook(module, inputs, output, site=site, point=point):
            seen[site] = point.tensor(inputs, output)
            order.append(site)

        network.get_submodule(point.module).register_forward_hook(hook)
    with torch.no_grad():
        network(image_for(config))
    side = config.data.image_size[0]
    for scale in range(1, len(row.encoder) + 1):
        assert set(seen[f"encoder.{scale}"].shape[2:]) == {side // 2 ** (scale - 1)}
    for scale in range(1, len(row.decoder) + 1):
        assert seen[f"decoder.{scale}"].shape[2:] == seen[f"encoder.{scale}"].shape[2:]
    assert len(row.decoder) == len(row.encoder) - 1
    assert set(seen["before"].shape[2:]) == {side // row.stride}
    assert torch.equal(seen["before"], seen[f"encoder.{len(row.encoder)}"])
    assert [site for site in order if site.startswith("decoder")] == [
        f"decoder.{scale}" for scale in range(len(row.decoder), 0, -1)
    ]


@pytest.mark.parametrize("name", BACKBONES)
def test_the_decoder_sees_nothing_of_the_bottleneck_but_the_site(name, config_for):
    """Exchanging the bottleneck's output changes the coarsest decoder stage, so it is its input."""
    config = config_for(name)
    row = BACKBONES[name]
    network = build_network(config).eval()
    coarsest = network.get_submodule(row.decoder[-1])
    seen = []
    coarsest.register_forward_hook(lambda module, inputs, output: seen.append(output))
    bottleneck = network.get_submodule(row.bottleneck)
    image = image_for(config)
    with torch.no_grad():
        network(image)
        bottleneck.register_forward_hook(lambda module, inputs, output: torch.sin(output) + 1)
        network(image)
    assert not torch.equal(seen[0], seen[1])


@pytest.mark.parametrize("name", ["dynunet-2d", "mednext-s"])
def test_deep_supervision_is_a_matter_of_training(name, config_for):
    config = config_for(name, "llm", deep_supervision=True)
    image = image_for(config, batch=2)
    network = build_network(config)
    outputs = network(image)
    assert isinstance(outputs, tuple)
    assert len(outputs) == 5
    assert outputs[0].shape == (2, 2, *config.data.image_size)
    assert all(output.shape[:2] == (2, 2) for output in outputs)
    sum(output.square().mean() for output in outputs).backward()
    copied = copy.deepcopy(network).eval()
    with torch.no_grad():
        logits = copied(image)
        assert torch.equal(network.eval()(image), logits)
    assert logits.shape == (2, 2, *config.data.image_size)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cmunext", {"deep_supervision": True}, "cmunext has one output; those that supervise mor"),
        ("segresnet-3d", {"widths": (4, 8, 16, 32)}, "begins with 4; .* a multiple of 8"),
        ("segresnet-3d", {"widths": (8, 16, 32, 32)}, r"stage to stage: \[8, 16, 32, 64\]"),
        ("mednext-s", {"widths": (4, 8, 16, 32, 32)}, r"stage to stage: \[4, 8, 16, 32, 64\]"),
        ("dynunet-2d", {"image_size": (96, 96)}, "dynunet-2d needs multiples of 64"),
        ("mednext-s", {"image_size": (32, 32)}, "is 3D. For 2D images there are: cmunext"),
    ],
)
def test_what_does_not_fit_a_backbone_is_said(name, options, message, config_for):
    size = options.pop("image_size", None)
    with pytest.raises(ConfigError, match=message):
        build_network(config_for(name, image_size=size, **options))
