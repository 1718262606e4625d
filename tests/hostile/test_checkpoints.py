"""Checkpoints decide on no code, no file, no host and no memory; weights are numbers."""

from __future__ import annotations

import io
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from corpus import Materials

import llm4seg_probe as lp
from llm4seg_probe.errors import CheckpointError, SourceError
from llm4seg_probe.models.outside import networks_given
from llm4seg_probe.reading.torch_archive import read_archive
from llm4seg_probe.training import (
    checkpoint,
    run_folder,
)

Change = Callable[[dict[str, Any]], object]
CALLABLES = {
    "evaluates": ("monai.bundle:run", {"run": ["$open('PWNED','w')"], "run_id": "run"}),
    "truncates": ("logging:basicConfig", {"filename": "PWNED", "filemode": "w", "force": True}),
    "fetches code": ("torch.hub:load", {"repo_or_dir": ".", "model": "m", "source": "local"}),
    "runs a command": ("os:system", {"command": "touch PWNED"}),
    "is in the folder": ("evil:N", {}),
}


@pytest.fixture
def with_change(source: Materials, tmp_path: Path) -> Callable[[Change], Path]:
    def made(change: Change) -> Path:
        content = torch.load(source.run, weights_only=True)
        change(content)
        torch.save(content, tmp_path / "x.pt")
        return tmp_path / "x.pt"

    return made


@pytest.mark.parametrize("name", CALLABLES)
def test_a_callable_that_a_checkpoint_names_is_not_called(
    name: str, with_change: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil.py").write_text("open('PWNED', 'w')\n")
    monkeypatch.chdir(tmp_path)
    called, options = CALLABLES[name]

    def change(content: dict[str, Any]) -> None:
        content["config"]["backbone"] |= {"widths": None, "name": called, "options": options}

    with pytest.raises(CheckpointError, match=r"names a network from outside.*--network"):
        lp.load(with_change(change))
    assert not (tmp_path / "PWNED").exists()


def test_the_users_own_network_opens_when_it_is_the_one_that_was_trained(
    source: Materials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_networks.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Conv2d):\n"
        "    def __init__(self, in_channels, out_channels):\n"
        "        super().__init__(in_channels, out_channels, 1)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    from llm4seg_probe.config import Config

    values = Config.model_validate_json(source.config).model_dump()
    values |= {"arm": "cnn", "backbone": {"name": "own_networks:Net"}}
    path = lp.load  # the name under which users know it
    from llm4seg_probe.training.train import train

    made = train(Config.model_validate(values), tmp_path / "own")
    with pytest.raises(CheckpointError, match="from outside"):
        path(made)
    with pytest.raises(CheckpointError, match="made with the network 'own_networks:Net', not with"):
        path(made, network="own_networks:Other")
    assert path(made, network="own_networks:Net").arm == "cnn"
    assert path(made, network=sys.modules["own_networks"].Net).arm == "cnn"
    with networks_given(["own_networks:Net"]):
        assert path(made).arm == "cnn"
    with pytest.raises(CheckpointError, match="two must be equal"), networks_given(["a.b:C"]):
        path(made)


def test_a_network_given_for_a_run_of_ours_is_refused(source: Materials) -> None:
    with pytest.raises(CheckpointError, match=r"with the network 'cmunext', not with 'a\.b:C'"):
        lp.load(source.run, network="a.b:C")


@pytest.mark.parametrize("name", ["/anywhere/x", "../x", "a/b", "a\\b", "C:x", "a\0b", "", ".."])
def test_a_name_that_is_a_path_is_refused(name: str, with_change: Callable) -> None:
    with pytest.raises(CheckpointError, match="name: a name without"):
        lp.load(with_change(lambda content: content.update(name=name)))


def test_a_hub_id_in_a_checkpoint_asks_no_host(
    with_change: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    def asked(*_: object, **__: object) -> None:
        raise AssertionError("a host was asked")

    monkeypatch.setattr(socket.socket, "connect", asked)
    monkeypatch.setattr(socket, "getaddrinfo", asked)
    for name in ("attacker/beacon", "a/b.c"):
        path = with_change(lambda content, n=name: content["config"]["booster"].update(source=n))
        with pytest.raises(SourceError, match=f"llm4seg-probe llm fetch {name}"):
            lp.load(path)
    for name in ("a/b--c", "a/b.git", "x/" + "a" * 200, "~nouser/x", "a\0b", "../../etc"):
        path = with_change(lambda content, n=name: content["config"]["booster"].update(source=n))
        with pytest.raises(SourceError):
            lp.load(path)


MISSING = ("config", "name", "dataset", "split", "epoch", "layer", "state", "val_iou")


@pytest.mark.parametrize("field", MISSING)
@pytest.mark.parametrize("value", ["absent", None, 3, "text", [], {}, 1e308])
def test_a_field_that_is_missing_or_of_another_type_is_named(
    field: str, value: object, with_change: Callable
) -> None:
    def change(content: dict[str, Any]) -> None:
        if value == "absent":
            del content[field]
        else:
            content[field] = value

    fine = {
        ("epoch", None), ("epoch", 3), ("val_iou", None), ("val_iou", 3), ("val_iou", 1e308),
        ("name", "text"), ("dataset", "text"),
    }  # fmt: skip
    if value.__hash__ and (field, value) in fine:
        assert lp.load(with_change(change)).arm == "llm"
        return
    with pytest.raises((CheckpointError, SourceError), match=field):
        lp.load(with_change(change))


NOT_NUMBERS = {
    "not a number": lambda t: torch.full_like(t, float("nan")),
    "infinite": lambda t: torch.full_like(t, float("inf")),
    "complex": lambda t: t.to(torch.complex64),
    "truth values": lambda t: t.bool(),
    "whole numbers": lambda t: t.long(),
}


@pytest.mark.parametrize("kind", NOT_NUMBERS)
def test_weights_that_are_no_numbers_are_refused(kind: str, with_change: Callable) -> None:
    def change(content: dict[str, Any]) -> None:
        name = next(n for n, t in content["state"].items() if t.is_floating_point() and t.ndim > 1)
        content["state"][name] = NOT_NUMBERS[kind](content["state"][name])

    with pytest.raises(CheckpointError, match="no numbers to compute with"):
        lp.load(with_change(change))


def test_a_variance_below_0_is_refused_with_its_name(with_change: Callable) -> None:
    changed = []

    def change(content: dict[str, Any]) -> None:
        name = next(n for n in content["state"] if n.endswith("running_var"))
        content["state"][name] = content["state"][name].clone()
        content["state"][name][0] = -1.0
        changed.append(name)

    with pytest.raises(CheckpointError, match="no numbers to compute with") as refused:
        lp.load(with_change(change))
    assert f"{changed[0]} (a variance below 0)" in str(refused.value)


@pytest.mark.parametrize(
    ("version", "said"),
    [("1", "the text '1'"), (None, "nothing"), (1.0, "the type float"), (True, "the type bool")],
)
def test_a_version_that_is_no_whole_number_is_named_as_what_it_is(
    version: object, said: str, with_change: Callable
) -> None:
    def change(content: dict[str, Any]) -> None:
        content["version"] = version

    with pytest.raises(CheckpointError, match=said) as refused:
        lp.load(with_change(change))
    assert "a whole number is expected, such as 1" in str(refused.value)


STRANGE = {
    "meta": lambda t: torch.empty(t.shape, device="meta"),
    "sparse": lambda t: t.to_sparse(),
    "repeated": lambda t: torch.zeros(()).expand(10**9),
    "overlapping": lambda t: torch.arange(9.0).as_strided((5, 5), (1, 1)),
    "quantised": lambda t: torch.quantize_per_tensor(t.flatten(), 0.1, 0, torch.qint8),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", STRANGE)
def test_tensors_that_are_more_than_what_the_file_holds_are_refused(
    kind: str, with_change: Callable
) -> None:
    def change(content: dict[str, Any]) -> None:
        name = next(n for n, t in content["state"].items() if t.ndim > 1)
        content["state"][name] = STRANGE[kind](content["state"][name])

    with pytest.raises(CheckpointError):
        lp.load(with_change(change))


def rewritten(path: Path, target: Path, change: Callable[[str, bytes], bytes], **how: Any) -> Path:
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(target, "w", **how) as made:
        for name in whole.namelist():
            made.writestr(name, change(name, whole.read(name)))
    return target


def test_a_compressed_archive_is_refused(source: Materials, tmp_path: Path) -> None:
    how = {"compression": zipfile.ZIP_DEFLATED}
    path = rewritten(source.run, tmp_path / "x.pt", lambda name, content: content, **how)
    with pytest.raises(CheckpointError, match="compressed"):
        read_archive(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x02cbuiltins\nbytearray\nK\x01\x85R.", "could run code"),  # allocates what it says
        (b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R.", "could run code"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "could run code"),
        (b"\x80\x02K\x01r\xff\xff\xff\x7f.", "counts what is not there"),  # a memo of 32 GB
        (b"\x80\x02ccollections\nOrderedDict\n(K\x01K\x02tR.", "not readable|whole torch"),
        (b"\x80\x02", "whole torch"),
        (pickle.dumps({"a": b"x"}, 2), "could run code"),
    ],
)
def test_a_pickle_is_looked_through_before_it_is_run(
    content: bytes, message: str, source: Materials, tmp_path: Path
) -> None:
    def change(name: str, old: bytes) -> bytes:
        return content if name.endswith("data.pkl") else old

    path = rewritten(source.run, tmp_path / "x.pt", change)
    with pytest.raises(CheckpointError, match=message):
        read_archive(path)


def test_a_storage_that_says_more_than_is_there_is_refused(
    source: Materials, tmp_path: Path
) -> None:
    def change(name: str, old: bytes) -> bytes:
        return old[:-4] if "/data/" in name else old

    with pytest.raises(CheckpointError, match="of another size than it says"):
        read_archive(rewritten(source.run, tmp_path / "x.pt", change))


def test_what_torch_saves_comes_back_as_it_was(tmp_path: Path) -> None:
    layers = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    content = {
        "state": layers.state_dict(), "half": torch.ones(3, dtype=torch.bfloat16),
        "view": torch.arange(24.0).reshape(4, 6)[1:3, 2:5], "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(3), "whole": torch.arange(5), "truth": torch.tensor([True, False]),
        "parameter": torch.nn.Parameter(torch.ones(2)), "type": torch.float32,
        "plain": [1, 2.5, None, "ä", (1, (2,)), {"a": {"b": []}}],
    }  # fmt: skip
    torch.save(content, tmp_path / "x.pt")
    found, expected = read_archive(tmp_path / "x.pt"), torch.load(tmp_path / "x.pt")
    for name in ("half", "view", "empty", "scalar", "whole", "truth", "parameter"):
        assert torch.equal(found[name], expected[name]), name
        assert found[name].dtype == expected[name].dtype
    for name, tensor in expected["state"].items():
        assert torch.equal(found["state"][name], tensor)
        assert found["state"][name].stride() == tensor.stride()
    assert found["plain"] == expected["plain"]
    assert found["type"] is torch.float32


@pytest.mark.parametrize(
    "field",
    [
        ("backbone", "widths", [4096] * 5), ("backbone", "widths", [10**9] * 5),
        ("booster", "lora_rank", 10**8), ("booster", "layer", [1] * 20_000),
        ("compute", "threads", 10**12), ("compute", "threads", 10**30),
        ("data", "image_size", [32_768, 32_768]), ("data", "image_size", [2**40, 16]),
        ("data", "channels", 10**9), ("training", "workers", 10**6), ("data", "split_seed", 2**70),
        ("training", "batch_size", 2**62), ("evaluation", "nsd_tolerance", float("nan")),
    ],
    ids=str,
)  # fmt: skip
def test_a_configuration_does_not_decide_about_memory(
    field: tuple[str, str, Any], with_change: Callable
) -> None:
    section, name, value = field
    path = with_change(lambda content: content["config"][section].update({name: value}))
    with pytest.raises(CheckpointError):
        lp.load(path)


def test_similarity_writes_into_its_own_folder_alone(
    with_change: Callable, refused: Callable, tmp_path: Path
) -> None:
    path = with_change(lambda content: content.update(name=str(tmp_path / "anywhere")))
    refused("similarity", "--ckpt", path, "--sites", "before,logits", "--out", tmp_path / "out")
    assert not list(tmp_path.glob("anywhere*"))


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.pop("epoch"), lambda c: c.pop("loops"), lambda c: c.update(optimizer_states=[]),
        lambda c: c.update(callbacks=3), lambda c: c.update(loops={}),
        lambda c: c["state_dict"].popitem(), lambda c: c.update(state_dict={"x": torch.ones(2)}),
        lambda c: c.update(lr_schedulers=[{}]), lambda c: c.update(optimizer_states=[{}]),
        lambda c: next(iter(c["callbacks"].values())).update(rows=[{"epoch": "x"}]),
        lambda c: next(iter(c["callbacks"].values())).pop("rows"),
        lambda c: c.update({"pytorch-lightning_version": "99.0"}),
        lambda c: [t.fill_(float("nan")) for t in c["state_dict"].values() if t.ndim > 1],
    ],
)  # fmt: skip
def test_a_last_pt_that_lacks_something_is_refused(
    change: Callable, source: Materials, tmp_path: Path
) -> None:
    import shutil

    from llm4seg_probe.config import Config
    from llm4seg_probe.training.train import train

    out = tmp_path / "run"
    shutil.copytree(source.run.parent, out)
    (out / run_folder.ENVIRONMENT).unlink()
    content = checkpoint.read(out / run_folder.LAST)
    change(content)
    torch.save(content, out / run_folder.LAST)
    config = Config.model_validate_json(source.config)
    with pytest.raises(CheckpointError, match="cannot be resumed"):
        train(config, out, resume=True)


def test_the_format_is_read_without_the_files_own_reader(source: Materials) -> None:
    # The reader of the archive is this project's: torch's own trusts the sizes in the pickle.
    content = checkpoint.read_run(source.run)
    stored = torch.load(io.BytesIO(source.run.read_bytes()), weights_only=True)
    assert content.keys() == stored.keys()
    assert all(torch.equal(content["state"][name], t) for name, t in stored["state"].items())
