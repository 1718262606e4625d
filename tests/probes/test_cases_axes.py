"""Modules whose channels are not where convolutions have them, and modules called twice."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import llm4seg_probe as lp
from llm4seg_probe.activations.gate import gated
from llm4seg_probe.activations.interventions import editing, place_of
from llm4seg_probe.activations.passes import recorded
from llm4seg_probe.errors import SiteError
from llm4seg_probe.models.axes import Axes


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


class Swin(nn.Module):
    """Channels last inside, as a Swin transformer; the grid is not square."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, 4, 4)
        self.norm = nn.LayerNorm(width)
        self.act = nn.GELU()
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.out = nn.Conv2d(width, 1, 1)

    def last(self, x: Tensor) -> Tensor:
        return self.norm(self.patch(x).permute(0, 2, 3, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.mlp(self.act(self.last(x))).permute(0, 3, 1, 2))


@pytest.mark.parametrize("site", ["norm", "act", "mlp", "mlp.0", "mlp.1"])
def test_channels_that_are_last_are_read_as_channels(site):
    network, x = Swin().eval(), torch.randn(2, 3, 32, 48)
    with torch.no_grad(), lp.record(network, [site, "patch"]) as recording:
        network(x)
    with torch.no_grad():
        last = network.last(x)
        stages = {"norm": last, "act": network.act(last), "mlp": network.mlp(network.act(last))}
        stages["mlp.0"] = network.mlp[0](network.act(last))
        stages["mlp.1"] = network.mlp[1](stages["mlp.0"])
    right = stages[site].flatten(1, 2)
    torch.testing.assert_close(recording[site], right)
    assert recording.grid(site) == recording.grid("patch") == (8, 12)
    torch.testing.assert_close(lp.effective_rank(recording[site]), lp.effective_rank(right))


class Volume(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch, self.norm = nn.Conv3d(1, 6, 2, 2), nn.LayerNorm(6)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.patch(x).permute(0, 2, 3, 4, 1))


def test_channels_last_of_a_volume():
    network = Volume()
    with torch.no_grad(), lp.record(network, ["norm"]) as recording:
        right = network(torch.randn(2, 1, 4, 6, 10))
    assert recording.grid("norm") == (2, 3, 5)
    torch.testing.assert_close(recording["norm"], right.flatten(1, 3))


class ConvNeXt(nn.Module):
    """A block that permutes inside: channels first outside of its norm."""

    def __init__(self) -> None:
        super().__init__()
        self.block = ConvNeXtBlock(12)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class ConvNeXtBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.depth = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm, self.mlp = nn.LayerNorm(width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mlp(self.norm(self.depth(x).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)


def test_a_block_that_permutes_inside_is_told_by_its_widths():
    network = ConvNeXt()
    with torch.no_grad(), lp.record(network, ["block", "block.norm"]) as recording:
        right = network(torch.randn(2, 12, 5, 7))
    torch.testing.assert_close(recording["block"], right.flatten(2).mT)
    assert recording.grid("block") == recording.grid("block.norm") == (5, 7)


def test_where_nothing_tells_the_axis_it_is_asked_for():
    network, x = ConvNeXt(), torch.randn(2, 12, 12, 12)
    with (
        pytest.raises(SiteError, match=r"site 'block' is of the shape \(2, 12, 12, 12\), and noth"),
        torch.no_grad(),
        lp.record(network, ["block"]),
    ):
        network(x)
    for sites, options in (
        (["block"], {"axis": 1}),
        (["block@1"], {}),
        (["block"], {"axis": {"block": 1}}),
    ):
        with torch.no_grad(), lp.record(network, sites, **options) as recording:
            right = network(x)
        torch.testing.assert_close(recording[sites[0]], right.flatten(2).mT)
    with torch.no_grad(), lp.record(network, ["block"], axis=-1) as recording:
        right = network(x)
    torch.testing.assert_close(recording["block"], right.flatten(1, 2))


@pytest.mark.parametrize("axis", [0, 4, -5])
def test_an_axis_that_holds_no_channels_is_refused(axis):
    network = ConvNeXt()
    x = torch.randn(2, 12, 5, 7)
    said = pytest.raises(SiteError, match=f"which has no channels on axis {axis}")
    with said, torch.no_grad(), lp.record(network, ["block"], axis=axis):
        network(x)


class Sequences(nn.Module):
    """Tokens before images, as torch's transformers have them unless asked."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.batch_first = None
        self.first = batch_first
        self.patch = nn.Conv2d(1, 16, 4, 4)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=batch_first)
        self.head = nn.Conv2d(16, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        grid = self.patch(x)
        tokens = (
            grid.flatten(2).permute(0, 2, 1) if self.first else grid.flatten(2).permute(2, 0, 1)
        )
        tokens = self.layer(tokens)
        tokens = tokens.permute(0, 2, 1) if self.first else tokens.permute(1, 2, 0)
        return self.head(tokens.reshape(grid.shape))


@pytest.mark.parametrize("images", [2, 3, 12])
@pytest.mark.parametrize("site", ["layer", "layer.norm1", "layer.linear2"])
def test_a_sequence_before_the_batch_is_read_by_images(images, site):
    first, last = Sequences(False).eval(), Sequences(True).eval()
    last.load_state_dict(first.state_dict())
    x = torch.randn(images, 1, 12, 16)
    with torch.no_grad(), lp.record(first, [site]) as one, lp.record(last, [site]) as other:
        torch.testing.assert_close(first(x), last(x))
    assert one[site].shape == (images, 12, 16)
    torch.testing.assert_close(one[site], other[site])


def test_convolutions_and_norms_of_one_dimension():
    host = nn.ModuleDict({"conv": nn.Conv1d(3, 16, 3, padding=1), "norm": nn.BatchNorm1d(3)})
    x = torch.randn(2, 3, 50)
    with torch.no_grad(), lp.record(host, ["conv", "norm"]) as recording:
        right = host["conv"](x)
        host["norm"](x)
    torch.testing.assert_close(recording["conv"], right.mT)
    assert recording["norm"].shape == (2, 50, 3)


@pytest.mark.parametrize("module", [nn.Linear(8, 5), nn.BatchNorm1d(8), nn.LayerNorm(8), nn.ReLU()])
def test_channels_without_places_are_one_token(module):
    network = nn.Sequential(nn.Flatten(), module)
    with torch.no_grad(), lp.record(network, ["1"]) as recording:
        right = network(torch.randn(4, 2, 2, 2))
    assert torch.equal(recording["1"], right[:, None])


def test_boosters_do_not_go_behind_channels_that_are_last():
    with pytest.raises(
        SiteError, match=r"module 'norm' returns \(1, 8, 12, 24\) with the channels"
    ):
        lp.boost(Swin(), at="norm", input_shape=(3, 32, 48), arm="adapters")


def test_what_is_edited_are_channels_wherever_they_stand():
    network, x = Swin().eval(), torch.randn(2, 3, 32, 48)
    seen = []
    with (
        torch.no_grad(),
        editing(network, place_of(network, "norm"), lambda t: seen.append(t) or 0 * t),
    ):
        edited = network(x)
    assert seen[0].shape == (2, 96, 24)
    zero = network.mlp(network.act(torch.zeros(2, 8, 12, 24))).permute(0, 3, 1, 2)
    torch.testing.assert_close(edited, network.out(zero).detach())
    with torch.no_grad(), gated(network, "norm") as gate:
        gate.register_forward_hook(lambda module, inputs, output: seen.append(output))
        torch.testing.assert_close(network(x), network(x))
    assert seen[1].shape == (2, 24, 8, 12)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(torch.relu(self.conv(x)))


@pytest.mark.parametrize("images", [1, 4])
def test_a_module_called_twice_is_two_recordings(images):
    network, x = Twice().eval(), torch.randn(images, 3, 16, 16)
    with torch.no_grad(), lp.record(network, ["conv"]) as recording:
        second = network(x)
        network(x)
        first = network.conv(x)
    assert recording.calls("conv") == 2
    torch.testing.assert_close(recording["conv#2"], torch.cat([second, second]).flatten(2).mT)
    assert len(recording["conv#1"]) == 3 * images  # the call outside of a pass is one of its own
    with pytest.raises(SiteError, match="is called 2 times in one forward pass: say which call is"):
        recording["conv"]
    with pytest.raises(SiteError, match="site 'conv' is called 2 times in a pass"):
        recording["conv#3"]
    with torch.no_grad(), lp.record(network, ["conv#1", "conv#2"]) as asked:
        network(x)
    torch.testing.assert_close(asked["conv#2"], second.flatten(2).mT)
    torch.testing.assert_close(asked["conv#1"], first.flatten(2).mT)
    assert asked.grid("conv#2") == (16, 16)


def test_probes_refuse_a_module_called_twice_and_rows_that_are_no_images():
    network, x = Twice().eval(), torch.randn(4, 3, 16, 16)
    with pytest.raises(SiteError, match="is called 2 times in one forward pass"):
        recorded(network, x, ["conv"])
    assert len(recorded(network, x, ["conv#2"])[0]["conv#2"]) == 4
    for context in (
        gated(network, "conv"),
        editing(network, place_of(network, "conv"), lambda t: t),
    ):
        said = pytest.raises(SiteError, match="called more than once in one forward pass")
        with said, torch.no_grad(), context:
            network(x)


class Windows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        halves = torch.cat(x.chunk(2, -1)).permute(0, 2, 3, 1)
        return torch.cat(self.inner(halves).permute(0, 3, 1, 2).chunk(2), -1)


def test_rows_that_are_windows_are_not_taken_for_images():
    with pytest.raises(SiteError, match="gives 8 matrices for 4 images"):
        recorded(Windows(), torch.randn(4, 3, 16, 16), ["inner"])


@pytest.mark.parametrize("reentrant", [True, False])
def test_what_a_backward_pass_computes_again_is_not_recorded(reentrant):
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.out = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(checkpoint(self.conv, x, use_reentrant=reentrant))

    network, x = Network().train(), torch.randn(4, 3, 16, 16, requires_grad=True)
    with lp.record(network, ["conv"]) as recording:
        network(x).sum().backward()
    assert recording["conv"].shape == (4, 256, 8)


def test_networks_that_take_no_hooks_say_so():
    network, x = (
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 1, 1)).eval(),
        torch.randn(1, 3, 4, 4),
    )
    network[0].last = network[0](x)
    with pytest.raises(SiteError, match=r"keeps an activation with its gradient in 0\.last"):
        lp.boost(network, at="0", input_shape=(3, 4, 4), arm="adapters")
    del network[0].last
    compiled = nn.Sequential(nn.Conv2d(3, 4, 1))
    compiled.compile(backend="eager")
    recording = lp.record(compiled, ["0"])
    with (
        recording as silent,
        pytest.raises(SiteError, match=r"compiled \(torch\.compile\), and ran"),
    ):
        silent["0"]


def test_axes_go_there_and_back():
    tensor = torch.randn(2, 3, 4, 5)
    for axes in (Axes(0, 1), Axes(0, 3), Axes(0, 2)):
        assert torch.equal(axes.back(axes.moved(tensor)), tensor)
