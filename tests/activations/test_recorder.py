from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.nn import functional

import llm4seg_probe as lp
from llm4seg_probe.activations.recorder import record
from llm4seg_probe.errors import SiteError


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def cnn() -> nn.Sequential:
    """A convolution whose output a ReLU then overwrites, and a head."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 1)
        ).eval()


class Talkative(nn.Module):
    """Gives back its input in several kinds of container."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: torch.Tensor):
        return {
            "tuple": (x, x + 1, "text"),
            "list": [x],
            "mapping": {"hidden": x, "other": 2 * x},
            "number": 3,
            "vector": x.flatten(1).sum(1),
            "pooled": x.flatten(2).mean(2),
            "tokens": x.flatten(2).transpose(1, 2),
        }[self.kind]


# What is read.


def test_sites_are_what_the_modules_saw(run, some_batches):
    network, x = run.network, some_batches[0].images
    seen = {}
    booster = network.get_submodule("encoder5").booster
    hooks = [
        booster.register_forward_hook(
            lambda _, inputs, output: seen.update(before=inputs[0].clone(), after=output.clone())
        ),
        booster.adapter1.register_forward_hook(
            lambda _, inputs, output: seen.update(tokens=output.clone())
        ),
    ]
    sites = ["encoder.1", "before", "tokens", "attention", "layer", "after", "logits"]
    with torch.no_grad(), record(network, sites) as recording:
        logits = network(x)
    for hook in hooks:
        hook.remove()
    assert recording.sites == tuple(sites)
    for site in ("before", "after"):
        assert torch.equal(recording[site], seen[site].flatten(2).transpose(1, 2))
        assert recording.grid(site) == (2, 2)
    assert torch.equal(recording["tokens"], seen["tokens"])
    assert torch.equal(recording["logits"], logits.flatten(2).transpose(1, 2))
    for site in ("tokens", "attention", "layer"):
        assert recording[site].shape == (4, 4, 32)
        assert recording.grid(site) == (2, 2)
    assert recording.grid("encoder.1") == recording.grid("logits") == (32, 32)


def test_the_grid_of_tokens_is_that_of_the_booster(run):
    with torch.no_grad(), record(run.network, ["tokens", "layer"]) as recording:
        run.network(images(1, 1, 64, 32))
    assert recording.grid("tokens") == recording.grid("layer") == (4, 2)
    assert recording["layer"].shape == (1, 8, 32)


def test_tokens_are_in_raster_order(cnn):
    x = images(2, 1, 3, 5)
    with record(cnn, ["0"]) as recording:
        cnn(x)
    features = functional.conv2d(x, cnn[0].weight, cnn[0].bias, padding=1)
    assert recording.grid("0") == (3, 5)
    assert torch.equal(recording["0"][1, 2 * 5 + 3], features[1, :, 2, 3])


def test_an_operation_in_place_after_the_site_does_not_reach_the_record(cnn):
    x = images(2, 1, 6, 6)
    with torch.no_grad(), record(cnn, ["0", "1"]) as recording:
        cnn(x)
    features = functional.conv2d(x, cnn[0].weight, cnn[0].bias, padding=1)
    expected = features.flatten(2).transpose(1, 2)
    assert (expected < 0).any()
    assert torch.equal(recording["0"], expected)
    assert torch.equal(recording["1"], expected.relu())


def test_a_module_that_overwrites_its_input_does_not_change_the_site_before_it(run, some_batches):
    class Overwriting(nn.Module):
        def forward(self, x):
            return x.zero_()

    network = nn.Sequential(nn.Conv2d(1, 4, 3), Overwriting())
    from llm4seg_probe.models.sites import SitePoint, mark

    mark(network, None, SitePoint("1", "input"))
    with torch.no_grad(), record(network, ["before", "1"]) as recording:
        network(images(1, 1, 6, 6))
    assert recording["before"].ne(0).all()
    assert recording["1"].eq(0).all()


def test_records_are_detached_copies_on_the_cpu_that_nobody_shares(cnn):
    with record(cnn, ["2"]) as recording:
        logits = cnn(images(1, 1, 6, 6))
    assert logits.requires_grad
    assert not recording["2"].requires_grad
    assert recording["2"].device.type == "cpu"
    kept = recording["2"].clone()
    logits.data.zero_()
    assert torch.equal(recording["2"], kept)


def test_several_passes_append_in_order(cnn):
    first, second = images(2, 1, 6, 6), images(3, 1, 6, 6, seed=1)
    with record(cnn, ["2"]) as recording:
        cnn(first)
        assert recording["2"].shape == (2, 36, 2)
        cnn(second)
    expected = torch.cat([cnn(first), cnn(second)]).flatten(2).transpose(1, 2)
    torch.testing.assert_close(recording["2"], expected.detach())
    assert recording.grid("2") == (6, 6)


def test_passes_over_images_of_different_sizes_cannot_be_read_as_one(cnn):
    with record(cnn, ["2"]) as recording:
        cnn(images(2, 1, 6, 6))
        cnn(images(1, 1, 4, 9))
        cnn(images(1, 1, 4, 4))
    with pytest.raises(SiteError) as error:
        recording["2"]
    assert str(error.value) == (
        "site '2' ran 3 times with different sizes ((2, 36, 2), (1, 36, 2), (1, 16, 2)): "
        "record one pass, or one size of image, at a time"
    )
    with pytest.raises(SiteError) as error:
        recording.grid("2")
    assert str(error.value) == "site '2' ran on different grids ((6, 6), (4, 9), (4, 4))"


def test_volumes_are_read_in_raster_order():
    network = nn.Sequential(nn.Conv3d(1, 2, 1))
    x = images(2, 1, 2, 3, 4)
    with torch.no_grad(), record(network, ["0"]) as recording:
        features = network(x)
    assert recording.grid("0") == (2, 3, 4)
    assert torch.equal(recording["0"][0, 1 * 12 + 2 * 4 + 3], features[0, :, 1, 2, 3])


def test_memory_in_channels_last_is_read_alike(cnn):
    x = images(2, 1, 6, 6)
    with record(cnn, ["2"]) as recording:
        cnn(x)
    with record(cnn.to(memory_format=torch.channels_last), ["2"]) as other:
        cnn(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(recording["2"], other["2"])


@pytest.mark.parametrize(
    ("kind", "site", "expected"),
    [
        ("tuple", "0[1]", lambda x: x + 1),
        ("list", "0", lambda x: x),
        ("mapping", "0[other]", lambda x: 2 * x),
    ],
)
def test_entries_of_containers(kind, site, expected):
    network, x = nn.Sequential(Talkative(kind)), images(2, 3, 4, 4)
    with record(network, [site]) as recording:
        network(x)
    assert torch.equal(recording[site], expected(x).flatten(2).transpose(1, 2))
    assert recording.grid(site) == (4, 4)


def test_what_has_no_places_is_one_token():
    network, x = nn.Sequential(Talkative("pooled")), images(2, 3, 4, 4)
    with record(network, ["0"]) as recording:
        network(x)
    assert torch.equal(recording["0"], x.mean((2, 3))[:, None])


@pytest.mark.parametrize(
    ("kind", "site", "message"),
    [
        (
            "tuple",
            "0",
            "site '0' gives a tuple of 3, 2 of them tensors: say which one is meant, such as "
            "'0[0]'",
        ),
        ("tuple", "0[7]", "site '0[7]': what the module gives, a tuple, has no such entry"),
        ("mapping", "0[hid]", "site '0[hid]': what the module gives, a dict, has no such entry"),
        (
            "number",
            "0",
            "the output of module '0' is a int, not a tensor: name a module inside it or after it",
        ),
        ("vector", "0", "site '0' is of the shape (2,): no channels"),
    ],
)
def test_what_cannot_be_read_says_so(kind, site, message):
    network = nn.Sequential(Talkative(kind))
    with pytest.raises(SiteError) as error, record(network, [site]):
        network(images(2, 3, 4, 4))
    assert str(error.value) == message


def test_tokens_of_a_module_that_knows_no_grid_have_none():
    network = nn.Sequential(Talkative("tokens"))
    with record(network, ["0"]) as recording:
        network(images(2, 3, 4, 4))
    assert recording["0"].shape == (2, 16, 3)
    with pytest.raises(SiteError) as error:
        recording.grid("0")
    assert str(error.value) == (
        "site '0' gives tokens, whose grid the network does not say: measure whole images only, "
        "or give the grid to a measure of recording[...] yourself"
    )


# Reduction on the fly.


def test_what_is_reduced_is_all_that_is_kept(cnn):
    with record(cnn, ["0"], reduce=lp.effective_rank) as recording:
        cnn(images(2, 1, 6, 6))
        cnn(images(3, 1, 8, 8, seed=1))  # another size does not matter once it is reduced
    assert recording["0"].shape == (5,)
    with record(cnn, ["0"]) as whole:
        cnn(images(2, 1, 6, 6))
    # The order in which a rank is summed depends on how the values lie, and on the processor.
    assert torch.allclose(recording["0"][:2], lp.effective_rank(whole["0"]), rtol=1e-6, atol=0)
    with record(cnn, ["0"], reduce=lambda tokens: tokens.amax(1)) as largest:
        cnn(images(2, 1, 6, 6))
    assert torch.equal(largest["0"], whole["0"].amax(1))


def test_a_reduction_that_returns_a_part_of_what_it_got_is_copied(cnn):
    with torch.no_grad(), record(cnn, ["0"], reduce=lambda tokens: tokens[:, :3]) as recording:
        cnn(images(2, 1, 6, 6))
    assert (recording["0"] < 0).any()  # the ReLU in place came later
    assert recording["0"].untyped_storage().nbytes() == 2 * 3 * 4 * 4


# Nothing is left behind.


@pytest.mark.parametrize("raises", [False, True])
def test_the_network_is_as_it_was(run, some_batches, fingerprint, raises):
    x = some_batches[0].images
    x = torch.cat([x, x], 1) if raises else x  # a channel too many: the pass itself fails
    before = fingerprint(run.network)
    with (
        pytest.raises(RuntimeError) if raises else nullcontext(),
        record(run.network, ["before", "tokens", "after", "encoder1", "logits"]),
    ):
        run.network(x)
    assert fingerprint(run.network) == before


def test_names_are_resolved_before_anything_is_attached(run, fingerprint):
    before = fingerprint(run.network)
    with (
        pytest.raises(SiteError, match=r"unknown site 'befor'. Did you mean 'before'\? Valid: bef"),
        record(run.network, ["after", "befor"]),
    ):
        pass
    assert fingerprint(run.network) == before


def test_nested_blocks_take_away_their_own_hooks_alone(cnn, fingerprint):
    before = fingerprint(cnn)
    with record(cnn, ["0", "2"]) as outer:
        within_outer = fingerprint(cnn)
        with pytest.raises(RuntimeError), record(cnn, ["0"]) as inner:
            cnn(images(1, 3, 6, 6))  # two channels too many, and the pass fails
        assert fingerprint(cnn) == within_outer
        cnn(images(1, 1, 6, 6))
    assert fingerprint(cnn) == before
    cnn(images(1, 1, 6, 6))
    assert inner.sites == ()  # the convolution itself failed
    assert outer["0"].shape[0] == 1


def test_the_same_site_twice_is_recorded_once(cnn):
    with record(cnn, ["0", "0"]) as recording:
        cnn(images(2, 1, 6, 6))
    assert recording["0"].shape[0] == 2


# Reading what is not there.


def test_a_site_that_never_ran_says_so_and_lists_those_that_did(cnn):
    with record(cnn, ["0", "1", "2"]) as recording:
        cnn[1](cnn[0](images(1, 1, 6, 6)))
    with pytest.raises(SiteError) as error:
        recording["2"]
    assert str(error.value) == ("site '2' never ran while recording. Sites that did: 0, 1")
    with record(cnn, ["0"]) as recording:
        pass
    with pytest.raises(SiteError, match="Sites that did: none"):
        recording.grid("0")


def test_a_site_that_was_not_asked_for_is_named(cnn):
    with record(cnn, ["0", "logits"]) as recording:
        cnn(images(1, 1, 6, 6))
    with pytest.raises(SiteError) as error:
        recording["logit"]
    assert str(error.value) == (
        "unknown recorded site 'logit'. Did you mean 'logits'? Valid: logits, 0"
    )


def test_a_single_name_in_place_of_a_list_is_refused(cnn):
    with pytest.raises(SiteError) as error, record(cnn, "logits"):
        pass
    assert str(error.value) == "sites is the text 'logits': give a list, such as ['logits']"
