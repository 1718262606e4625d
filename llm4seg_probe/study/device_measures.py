"""The checks of a device, each a few numbers; see :mod:`llm4seg_probe.study.device_check`."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from llm4seg_probe import tables
from llm4seg_probe.activations.recorder import record
from llm4seg_probe.config import Config
from llm4seg_probe.llm.decoder import load_decoder
from llm4seg_probe.measures.rank import effective_rank
from llm4seg_probe.models.costs import costs
from llm4seg_probe.models.devices import gpu_count
from llm4seg_probe.models.network import parameter_groups, portable_state
from llm4seg_probe.models.reference import from_reference
from llm4seg_probe.models.sites import sites_of
from llm4seg_probe.study.analysis import analyses_folder
from llm4seg_probe.study.device_bench import Bench, Row, Skipped
from llm4seg_probe.study.forecast import GPUS, START_SECONDS, step_seconds
from llm4seg_probe.training import run_folder
from llm4seg_probe.training.loss import SegmentationLoss
from llm4seg_probe.training.optimiser import optimiser
from llm4seg_probe.training.train import train
from llm4seg_probe.training.work import device_name, finished, median_step, work_of_step

_CHECKOUT = Path(__file__).resolve().parents[2]
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def _close(what: str, difference: float, tolerance: float) -> Row:
    good = difference <= tolerance
    return Row("", what, f"{difference:.1e}", f"at most {tolerance:.0e}", good)


def golden_numbers(bench: Bench) -> Iterator[Row]:
    """Logits of the published network on weights and an image that a formula makes."""
    folder = _CHECKOUT / "tests" / "golden"
    if not folder.is_dir():
        raise Skipped("tests/golden lies in a checkout alone")
    names = ("cnn",) if bench.small else ("cnn", "llama", "deepseek")
    for name in names:
        fields = json.loads((folder / f"{name}-public.json").read_text())
        state = {f"module.{key}": _weight(key, shape) for key, shape in fields["keys"].items()}
        network = from_reference(state)[1].to(bench.device)
        values = (2 * _uniform("input", 3 * 256 * 256) - 1).astype(np.float32)
        image = torch.from_numpy(values.reshape(1, 3, 256, 256)).to(bench.device)
        with torch.no_grad():
            logits = network(image)[0, 0].cpu()
        wanted = torch.tensor(fields["logits_16"])
        difference = (logits[::16, ::16] - wanted).abs().max().item()
        yield _close(f"{name}: largest difference of a logit", difference, 1e-4)


def _uniform(key: str, count: int) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(f"public{key}".encode()).digest()[:4], "little")
    return np.random.Generator(np.random.PCG64(seed)).random(count)


def _weight(key: str, shape: list[int]) -> Tensor:
    """The tensor that the golden numbers' formula gives a key (tests/models/golden_formula.py)."""
    if key.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    drawn = _uniform(key, math.prod(shape))
    if key.endswith("running_var"):
        values = 0.5 + drawn
    elif len(shape) == 1 and key.endswith("weight"):
        values = 0.8 + 0.4 * drawn
    elif len(shape) == 1:
        values = 0.2 * (drawn - 0.5)
    else:
        values = (2 * drawn - 1) * math.sqrt(3 / math.prod(shape[1:]))
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def equal_bits(bench: Bench) -> Iterator[Row]:
    """Weights after a few training steps, made twice."""
    found = [_trained(bench) for _ in range(2)]
    same = all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    yield Row("", "weights after 4 steps, twice", "equal" if same else "differ", "equal", same)


def _trained(bench: Bench) -> dict[str, Tensor]:
    config = bench.config()
    network = bench.network(config).train()
    step = _stepper(network, config)
    images, masks = bench.batch(config)
    for _ in range(4):
        step(images, masks)
    return {name: tensor.cpu().clone() for name, tensor in portable_state(network).items()}


def _stepper(
    network: nn.Module, config: Config, precision: str = "fp32"
) -> Callable[[Tensor, Tensor], Tensor]:
    chosen = optimiser(config.training.optimiser, parameter_groups(network))
    loss_of = SegmentationLoss(config.training)
    kind, dtype = config.compute.device.partition(":")[0], _AUTOCAST.get(precision)

    def step(images: Tensor, masks: Tensor) -> Tensor:
        chosen.zero_grad()
        with torch.autocast(kind, dtype, enabled=dtype is not None):
            logits = network(images)
        loss: Tensor = loss_of(logits, masks)
        loss.backward()  # type: ignore[no-untyped-call]
        chosen.step()
        return loss

    return step


def precisions(bench: Bench) -> Iterator[Row]:
    """Logits in bf16 and fp16 against fp32, and the seconds of a training step in each."""
    config = bench.config()
    network = bench.network(config)
    images, masks = bench.batch(config)
    network.train()
    with torch.no_grad():  # batch statistics of these images
        network(images)
    network.eval()
    with torch.no_grad():
        exact = network(images).float()
    names = ("bf16",) if bench.device.type == "cpu" else ("bf16", "fp16")
    for name in names:
        with torch.no_grad(), torch.autocast(bench.device.type, _AUTOCAST[name]):
            rough = network(images).float()
        differs = ((rough > 0) != (exact > 0)).float().mean().item()
        yield _close(f"{name}: difference to fp32, relative", _relative(rough, exact), 0.05)
        yield Row("", f"{name}: pixels decided otherwise", f"{differs:.2%}")
    network.train()
    plain = bench.seconds(lambda: _stepper(network, config)(images, masks), 3)
    for name in names:
        step = _stepper(network, config, name)
        taken = bench.seconds(lambda step=step: step(images, masks), 3)  # type: ignore[misc]
        yield Row("", f"{name}: seconds of a step to fp32's", f"{taken / plain:.2f}")


def _relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def training_step(bench: Bench) -> Iterator[Row]:
    """A step of ours, against the published loop's way and against the forecast."""
    config = bench.config()
    ours = bench.seconds(_made(bench, config), 5)
    size = f"{bench.side} px, batch {config.training.batch_size}"
    yield Row("", f"ours ({size}, LLaMA-shaped layer), ms", f"{1000 * ours:.1f}")
    plain = bench.config(compute={"memory_format": "contiguous"})
    way = _published_way(bench, plain)
    if way is not None:
        theirs = bench.seconds(way, 5)
        yield Row("", "the published loop's way, ms", f"{1000 * theirs:.1f}")
        yield Row("", "ours to the published loop's way", f"{ours / theirs:.2f}")
    if bench.device.type == "cuda":
        torch.use_deterministic_algorithms(False)
        free = bench.seconds(_made(bench, config), 5)
        torch.use_deterministic_algorithms(True, warn_only=True)
        yield Row("", "ours without deterministic algorithms, ms", f"{1000 * free:.1f}")
    name = device_name(bench.device)
    for gpu in GPUS:
        if gpu.name.split(" 80GB")[0].split()[-1] in name:
            span = step_seconds(
                work_of_step(config), gpu.peak("fp32"), 1e9 * gpu.bandwidth, START_SECONDS
            )
            wanted = f"{1000 * span.low:.1f} to {1000 * span.high:.1f} forecast"
            good = span.low <= ours <= span.high
            yield Row("", f"ours, as {gpu.name}, ms", f"{1000 * ours:.1f}", wanted, good)


def _made(bench: Bench, config: Config) -> Callable[[], object]:
    network = bench.network(config).train()
    step = _stepper(network, config)
    images, masks = bench.batch(config)
    return lambda: step(images, masks)


def _published_way(bench: Bench, config: Config) -> Callable[[], object] | None:
    """The published loop written again, as the benchmarks have it; None where it is not here."""
    path = analyses_folder() / "benchmarks" / "published_loop.py"
    if not path.is_file():
        return None
    spec = importlib.util.spec_from_file_location("llm4seg_probe_published_loop", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    step = module.stepper(bench.network(config), config, 1000)
    images, masks = bench.batch(config)
    return lambda: step(images, masks)


def layer_loading(bench: Bench) -> Iterator[Row]:
    """One decoder layer out of a folder of safetensors."""
    config = bench.config()
    decoder = load_decoder(config.booster, weights="random")
    folder = bench.folder / "layer"
    folder.mkdir()
    shapes = Path(config.booster.source)
    (folder / "config.json").write_text((shapes / "config.json").read_text())
    own = decoder.blocks[0].state_dict()
    tensors = {f"model.layers.14.{name}": value.bfloat16() for name, value in own.items()}
    save_file(tensors, folder / "model.safetensors")
    booster = config.booster.model_copy(update={"source": str(folder)})
    taken = bench.seconds(lambda: load_decoder(booster).to(bench.device), 2)
    megabytes = sum(tensor.numel() * 2 for tensor in tensors.values()) / 1e6
    yield Row("", f"a layer of {megabytes:.0f} MB in bfloat16, ms", f"{1000 * taken:.0f}")


def recording(bench: Bench) -> Iterator[Row]:
    """A pass with all of a booster's sites recorded, against a plain one."""
    config = bench.config()
    network = bench.network(config).eval()
    images, _ = bench.batch(config)
    sites = [site for site in ("before", "tokens", "layer", "after") if site in sites_of(network)]

    def recorded() -> None:
        with torch.no_grad(), record(network, sites):
            network(images)

    def plain() -> None:
        with torch.no_grad():
            network(images)

    ratio = bench.seconds(recorded) / bench.seconds(plain)
    yield Row("", f"{len(sites)} sites, to a plain pass", f"{ratio:.2f}")


def rank(bench: Bench) -> Iterator[Row]:
    """Effective rank on the device against the CPU's."""
    shape = (2, 64, 128) if bench.small else (16, 256, 2048)
    tokens = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    here, there = effective_rank(tokens), effective_rank(tokens.to(bench.device)).cpu()
    yield _close("largest relative difference", ((there - here) / here).abs().max().item(), 1e-6)
    on_device = tokens.to(bench.device)
    taken = bench.seconds(lambda: effective_rank(on_device), 3)
    yield Row("", f"{'x'.join(map(str, shape))}, ms", f"{1000 * taken:.0f}")


def memory(bench: Bench) -> Iterator[Row]:
    """The most that a training step holds, against what was counted beforehand."""
    if bench.device.type != "cuda":
        raise Skipped("only CUDA says what a step holds")
    config = bench.config()
    step = _made(bench, config)
    step()
    torch.cuda.reset_peak_memory_stats(bench.device)
    step()
    finished(bench.device)
    found = torch.cuda.max_memory_allocated(bench.device) / 1e9
    counted = costs(config).total.memory / 1e9
    yield Row("", "most memory of a step, GB", f"{found:.2f}", f"{counted:.2f} counted")


def side_by_side(bench: Bench) -> Iterator[Row]:
    """Two processes at a time on one device, against one."""
    if bench.device.type == "cpu":
        raise Skipped("of a GPU that several runs share")
    config = bench.config("cnn")
    alone = median_step(config, 20)
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        both = list(pool.map(_step_of, [config.model_dump(mode="json")] * 2))
    yield Row("", "images a second, two processes to one", f"{2 * alone / max(both):.2f}")


def _step_of(values: dict[str, Any]) -> float:
    return median_step(Config.model_validate(values), 40)


def two_cards(bench: Bench) -> Iterator[Row]:
    """One epoch shared by two cards, against one card: the same validation loss."""
    if bench.device.type != "cuda" or gpu_count() < 2:
        raise Skipped(f"takes two cards; here there are {gpu_count()}")
    losses = []
    for count in (1, 2):
        config = bench.config(
            "cnn",
            data={"name": "phantoms-texture", "split": "cases", "channels": 1},
            training={"epochs": 1},
            compute={"device": "cuda", "devices": count, "sync_batchnorm": count > 1},
        )
        folder = bench.folder / f"cards-{count}"
        train(config, folder)
        rows = tables.read_table(folder / run_folder.METRICS, tables.METRICS)
        losses.append(float(rows["train_loss"].iloc[0]))
    yield _close("loss of the first epoch, two cards to one", abs(losses[1] - losses[0]), 0.05)


CHECKS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "golden numbers": golden_numbers,
    "equal bits": equal_bits,
    "precisions": precisions,
    "training step": training_step,
    "memory": memory,
    "layer loading": layer_loading,
    "recording": recording,
    "effective rank": rank,
    "two processes": side_by_side,
    "two cards": two_cards,
}
