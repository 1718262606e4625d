"""Any network with a batch of images and masks, as a probe takes a run of ours."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from llm4seg_probe.activations.passes import evaluating
from llm4seg_probe.config import Config
from llm4seg_probe.data.batches import Batch
from llm4seg_probe.data.collection import FOREGROUND, Collection, RawImage, Sample
from llm4seg_probe.data.preprocess import LINEAR
from llm4seg_probe.data.splits import Split
from llm4seg_probe.errors import DataError, SiteError
from llm4seg_probe.llm.decoder import Decoder
from llm4seg_probe.models.booster import Booster
from llm4seg_probe.models.devices import device_of
from llm4seg_probe.models.sites import SitePoint, boosters_of, mark, sites_of
from llm4seg_probe.probes.base import Probe
from llm4seg_probe.probes.probed import ProbedRun, Source
from llm4seg_probe.training.checkpoint import RunContent
from llm4seg_probe.training.stored_run import Run

NAME = "network"
"""Name of a network that was given without one: its run and arm in the tables."""
DATASET = "images"
"""Name of a batch of images in the tables."""
_LEAST_SIDE = 2
"""Positions along each axis of a grid that still says where something is."""


@dataclass(frozen=True)
class GivenImages:
    """A batch as the network sees it: images (B, C, *grid), masks (B, K, *grid) if there are any.

    Without masks nothing is foreground.
    """

    images: Tensor
    masks: Tensor | None

    @classmethod
    def of(cls, images: Any, masks: Any = None) -> GivenImages:
        """Tensors or arrays, channels first; masks also (B, *grid) of labels, 0 the background.

        Raises DataError for other shapes, and for masks that are not of these images.
        """
        pixels = torch.as_tensor(images).detach().float().cpu()
        if pixels.ndim not in (4, 5) or not len(pixels):
            raise DataError(
                f"images are (B, C, H, W) or (B, C, D, H, W), channels first; these are "
                f"{tuple(pixels.shape)}"
            )
        if masks is None:
            return cls(pixels, None)
        planes = _planes(torch.as_tensor(masks).detach().cpu(), pixels)
        if planes.shape[0] != len(pixels) or planes.shape[2:] != pixels.shape[2:]:
            raise DataError(
                f"masks {tuple(planes.shape)} are not of these images {tuple(pixels.shape)}: one "
                "mask for each image, on its grid"
            )
        return cls(pixels, planes)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the images, by their place in the batch."""
        return tuple(f"image-{number:03d}" for number in range(len(self.images)))

    @property
    def planes(self) -> Tensor:
        """Masks (B, K, *grid) as float32, empty ones where none were given."""
        return torch.zeros_like(self.images[:, :1]) if self.masks is None else self.masks


def _planes(masks: Tensor, images: Tensor) -> Tensor:
    """Masks (B, K, *grid) of zeros and ones; labels (B, *grid) get a plane for each class."""
    if masks.ndim == images.ndim:
        return (masks > 0.5).float()
    if masks.ndim != images.ndim - 1:
        raise DataError(
            f"masks are (B, K, *grid), or (B, *grid) of labels; these are {tuple(masks.shape)}, "
            f"the images {tuple(images.shape)}"
        )
    highest = max(1, int(masks.max())) if masks.dtype != torch.bool else 1
    return torch.stack([(masks == label).float() for label in range(1, highest + 1)], 1)


@dataclass(frozen=True, eq=False)
class _InMemory(Collection):
    """The images of a batch as a collection, read as they are."""

    given: GivenImages | None = None

    @property
    def _batch(self) -> GivenImages:
        assert self.given is not None
        return self.given

    def read(self, sample: Sample) -> RawImage:
        """Image and mask of a sample."""
        place = self._batch.names.index(sample.image)
        image, mask = self._batch.images[place], self._batch.planes[place] > 0.5
        # As prepared: nothing is normalised or resized on the way into the network.
        return RawImage(image.numpy().copy(), mask.numpy(), None, "nnunet")

    @cached_property
    def fingerprint(self) -> str:
        """No files, no fingerprint of them."""
        return ""


@dataclass(frozen=True)
class GivenRun(Run):
    """A network from outside with its images, where a probe looks for a trained run."""

    given: GivenImages | None = None

    @property
    def arm(self) -> str:
        """The name that the network was given under."""
        return self.name

    def collection(self, data: Path | None = None) -> Collection:
        """The images that were given."""
        assert self.given is not None
        samples = tuple(Sample(name, name, "unknown", Path(name), ()) for name in self.given.names)
        return _InMemory(DATASET, samples, self.config.data.classes, given=self.given)

    def images(self, split: str = "test", data: Path | None = None) -> tuple[str, ...]:
        """Names of all the images."""
        assert self.given is not None
        return self.given.names

    def batches(
        self, split: str = "test", data: Path | None = None, size: int = 16
    ) -> Iterator[Batch]:
        """The images and masks in order."""
        given = self.given
        assert given is not None
        for start in range(0, len(given.images), size):
            part = slice(start, start + size)
            names = given.names[part]
            yield Batch(given.images[part], given.planes[part], names, names)


@dataclass(frozen=True)
class GivenNetwork(Source):
    """A network from outside as the source of a probe; what is given is left as it was."""

    run: GivenRun | None = None
    notes: tuple[str, ...] = ()
    """What was decided for the user, in sentences."""
    sites: tuple[str, ...] | None = None
    """Sites that were chosen, where the probe's usual ones are not in the network."""

    @property
    def config(self) -> Config:
        """What the network and its images say, in the words of a configuration."""
        assert self.run is not None
        return self.run.config

    @property
    def content(self) -> RunContent:
        """There is no file. Raises SiteError."""
        raise SiteError(
            "a network that is given with images was not trained here, and says neither its arm "
            "nor its training images: this probe takes runs (run.pt)"
        )

    def open(self, others: Sequence[Source] = ()) -> ProbedRun:
        """The network with its images."""
        assert self.run is not None
        return ProbedRun(self.run, self.split, Path(DATASET), others)


def given_networks(
    probe: Probe, networks: Mapping[str, nn.Module], given: GivenImages, sites: Sequence[str] | None
) -> list[GivenNetwork]:
    """Networks with a batch, ready for a probe.

    Raises DataError where the probe needs masks and there are none, SiteError where it needs
    logits and the network gives something else.
    """
    if given.masks is None and probe.without_masks is None:
        raise DataError(f"{probe.name} compares with masks: give them, masks=(B, K, *grid)")
    return [_given(probe, name, network, given, sites) for name, network in networks.items()]


def _given(
    probe: Probe, name: str, network: nn.Module, given: GivenImages, sites: Sequence[str] | None
) -> GivenNetwork:
    if isinstance(network, torch.jit.ScriptModule):
        raise SiteError("a scripted network (torch.jit) takes no hooks: give what it was made of")
    notes: list[str] = []
    twin = _twin(network)
    seen = _look(twin, given.images[:1])
    if probe.answers and seen.logits.ndim != given.images.ndim:
        raise SiteError(
            f"{probe.name} looks at the network's answer, and this one gives "
            f"{tuple(seen.logits.shape)}: logits (B, K, *grid) are expected"
        )
    twin.register_forward_hook(_as_logits)
    config = _config(name, twin, given, seen.logits)
    chosen = None
    if "before" not in sites_of(twin) and "before.1" not in sites_of(twin):
        deepest = sites[0] if sites else seen.deepest
        if deepest is not None and deepest in dict(twin.named_modules()):
            mark(twin, None, SitePoint(deepest))
        usual = {option.name: option.default for option in probe.option_list()}.get("sites")
        if sites is None and usual is not None and {"before", "after"} & set(usual):
            chosen = _chosen_sites(name, seen.deepest, usual, notes)
    run = GivenRun(
        name, DATASET, config, _no_split(), None, twin, Path(name), given
    )  # fmt: skip
    return GivenNetwork(Path(name), run=run, notes=tuple(notes), sites=chosen)


def _chosen_sites(
    name: str, deepest: str | None, usual: Sequence[str], notes: list[str]
) -> tuple[str, ...]:
    if deepest is None:
        raise SiteError(
            f"{name} has no module that gives a grid of features: say where to look, "
            "sites=['path.of.a.module']"
        )
    notes.append(
        f"Looked at in {name}: module {deepest}, its deepest features (sites=… names others)."
    )
    return (deepest,) if "before" in usual else tuple(usual)


def _twin(network: nn.Module) -> nn.Module:
    """The same network with the same weights, whose own hooks and sites are not the user's."""
    twin = copy.copy(network)
    twin._forward_hooks = OrderedDict(network._forward_hooks)
    twin._forward_hooks_with_kwargs = OrderedDict(network._forward_hooks_with_kwargs)
    twin._forward_hooks_always_called = OrderedDict(network._forward_hooks_always_called)
    return twin


def _as_logits(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Tensor:
    """Logits on the images' grid, from a tensor, the first of several, or a mapping with them."""
    found = output
    if isinstance(output, Mapping):
        found = next((output[key] for key in ("logits", "out") if key in output), None)
    elif isinstance(output, tuple | list) and output:
        found = output[0]  # deep supervision: the finest comes first
    if not isinstance(found, Tensor):
        raise SiteError(
            f"the network gives a {type(output).__name__} without logits in it: wrap it in a "
            "module that returns them"
        )
    grid = inputs[0].shape[2:] if inputs and isinstance(inputs[0], Tensor) else found.shape[2:]
    if found.ndim == 2 + len(grid) and found.shape[2:] != grid:
        return interpolate(found, tuple(grid), mode=LINEAR[len(grid)])
    return found


@dataclass(frozen=True)
class _Look:
    """What one pass shows: the logits, and the module with the deepest features."""

    logits: Tensor
    deepest: str | None


def _look(network: nn.Module, images: Tensor) -> _Look:
    """Pass one image through: of the modules that give the coarsest grid, the last to run."""
    seen: list[tuple[int, str]] = []

    def note(path: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim == images.ndim:
                grid = output.shape[2:]
                if min(grid) >= _LEAST_SIDE:
                    seen.append((int(np.prod(grid)), path))

        return hook

    handles = [
        module.register_forward_hook(note(path)) for path, module in network.named_modules() if path
    ]
    try:
        with evaluating(network):
            output = network(images.to(device_of(network, images.device)))
            logits = _as_logits(network, (images,), output)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise DataError(
            f"the network does not take images of the shape {tuple(images.shape[1:])}: "
            f"{' '.join(str(error).split())[:200]}"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    fewest = min((size for size, _ in seen), default=0)
    last = [path for size, path in seen if size == fewest]
    return _Look(logits.detach().float().cpu(), last[-1] if last else None)


def _config(name: str, network: nn.Module, given: GivenImages, logits: Tensor) -> Config:
    """What a probe reads of a configuration: channels, classes, output, and images as they are.

    The arm says what there is for interventions: a decoder layer, a booster, or neither.
    """
    count = given.planes.shape[1]
    channels = logits.shape[1] if logits.ndim > 1 else count
    if given.masks is None:
        count = max(1, channels - 1)
    elif logits.ndim == given.images.ndim and channels not in (count, count + 1):
        raise DataError(
            f"the network answers in {channels} channels, and the masks are of {count} "
            f"class{'es' * (count > 1)}: give one mask for each of its classes, without background"
        )
    names = (FOREGROUND,) if count == 1 else tuple(f"class-{k}" for k in range(1, count + 1))
    boosters = [booster for _, booster in boosters_of(network)]
    layers = [part for one in boosters for part in one.modules() if isinstance(part, Decoder)]
    return Config.model_validate(
        {
            "arm": _arm(boosters, layers),
            "booster": _source(layers),
            "data": {
                "name": name, "split": "groups", "image_size": list(given.images.shape[2:]),
                "channels": given.images.shape[1], "classes": list(names),
                "normalisation": "nnunet", "nnunet": {}, "augmentation": "none",
            },
            "training": {"output": "softmax" if channels == count + 1 else "sigmoid"},
            "compute": {
                "threads": torch.get_num_threads(), "memory_format": "contiguous",
                "keep_freed_memory": False,
            },
        }
    )  # fmt: skip


def _no_split() -> Split:
    return Split("none", DATASET, "", 0, False, False, (), (), ())


def _source(layers: Sequence[Decoder]) -> dict[str, Any]:
    """Where the layer of a boosted network comes from, which some probes read again."""
    if not layers or layers[0].identity is None:
        return {}
    identity = layers[0].identity
    field = "layer" if layers[0].mixing is None else "mixture"
    return {"source": identity.source, field: list(identity.layers)}


def _arm(boosters: Sequence[Booster], layers: Sequence[Decoder]) -> str:
    """The arm whose parts the boosted network has."""
    if not layers:
        return "adapters" if boosters else "cnn"
    if layers[0].mixing is not None:
        return "llm-mix"
    return "llm" if boosters[0].gate is None else "llm-gated"
