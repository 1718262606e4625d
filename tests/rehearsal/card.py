"""A GPU that is not there: tensors with values that say they lie on ``cuda:0``.

torch's ``FakeTensorMode`` gives tensors of any device without their values, which is enough for a
network and not for a command that looks at what the network answers. Here the values lie on the
CPU, inside of tensors that say otherwise. An operation on tensors of two devices raises, as it
does where there is a GPU; ``.cpu()`` gives the values back; ``.numpy()`` of what was not moved is
refused. What waits for the device is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

aten = torch.ops.aten
GPU = torch.device("cuda", 0)
_LOOKS = {  # operations whose result, or its shape, the processor waits for
    aten._local_scalar_dense, aten.is_nonzero, aten.nonzero, aten.masked_select, aten.equal,
    aten.unique_consecutive, aten._unique2,
}  # fmt: skip


class TwoDevices(RuntimeError):
    """An operation on tensors of two devices."""


class OnCard(Tensor):
    """A tensor that says it is on the GPU; to torch's own code it has no content, as ``meta``."""

    values: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, values: Tensor) -> OnCard:
        size, strides = values.shape, values.stride()
        empty = torch.empty_strided(size, strides, dtype=values.dtype, device="meta")
        made = Tensor._make_subclass(cls, empty, False)
        made.values = values.detach()
        return made

    @property
    def device(self) -> torch.device:
        return GPU

    @property
    def is_cuda(self) -> bool:
        return True

    @property
    def is_meta(self) -> bool:
        return False

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        if not force:
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        return self.cpu().numpy()

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"OnCard({tuple(self.shape)}, {self.dtype})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _done(func, args, kwargs or {}, None)


class Card(TorchDispatchMode):
    """While it is active there is a GPU.

    ``waits`` are the operations that waited for it, ``convolutions`` those that it computed.
    """

    def __init__(self) -> None:
        super().__init__()
        # The slot of FakeTensorMode: with it torch does not try to start CUDA.
        self._mode_key = torch._C._TorchDispatchModeKey.FAKE
        self.waits: Counter[str] = Counter()
        self.convolutions = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _done(func, args, kwargs or {}, self)


@contextmanager
def a_card() -> Iterator[Card]:
    """A GPU for a block; modules are moved to it by new parameters, as between kinds of tensors."""
    future = torch.__future__
    before = future.get_overwrite_module_params_on_conversion()
    future.set_overwrite_module_params_on_conversion(True)
    lifted = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(…, device=…) passes through the mode
    try:
        with Card() as card:
            yield card
    finally:
        torch._C._set_only_lift_cpu_tensors(lifted)
        future.set_overwrite_module_params_on_conversion(before)


def _is_gpu(device: Any) -> bool:
    # What torch's own code makes beside a tensor on the card, it makes on "meta".
    return torch.device(device).type in ("cuda", "meta")


def _inner(value: Any) -> Any:
    return value.values if isinstance(value, OnCard) else value


def _done(func: Any, args: Any, kwargs: dict[str, Any], card: Card | None) -> Any:
    tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
    there = [tensor for tensor in tensors if isinstance(tensor, OnCard)]
    device = kwargs.get("device")
    if func is aten._fused_sdp_choice.default and there:
        return 0  # plain products: the fused kernels of this CPU are not a GPU's
    if func is aten.copy_.default:
        to_card = isinstance(args[0], OnCard)
    elif device is not None:
        to_card = _is_gpu(device)
    else:
        to_card = bool(there)
        _refuse_two_devices(func, args, tensors, there)
    if card is not None and there:
        card.convolutions += func._overloadpacket is aten.convolution
        leaves = not to_card and func in (aten._to_copy.default, aten.copy_.default)
        looks = func._overloadpacket in _LOOKS or _picks_by_truth(func, args)
        if leaves or looks:
            card.waits[str(func)] += 1
    plain = {name: torch.device("cpu") if name == "device" and value is not None else value
             for name, value in kwargs.items()}  # fmt: skip
    found = func(*tree_map(_inner, args), **tree_map(_inner, plain))
    if not to_card:
        return found
    known = {id(tensor.values): tensor for tensor in there}

    def worn(value: Any) -> Any:
        if not isinstance(value, Tensor) or isinstance(value, OnCard):
            return value
        return known[id(value)] if id(value) in known else OnCard(value)

    return tree_map(worn, found)


def _picks_by_truth(func: Any, args: Any) -> bool:
    """Whether a boolean tensor on the card is an index: how many are picked has to be known."""
    if func._overloadpacket not in (aten.index, aten.index_put, aten.index_put_):
        return False
    return any(isinstance(index, OnCard) and index.dtype == torch.bool for index in args[1])


def _refuse_two_devices(func: Any, args: Any, tensors: list[Tensor], there: list[OnCard]) -> None:
    """A number, and the places of an index, may lie on the CPU; nothing else beside the GPU."""
    here = [tensor for tensor in tensors if not isinstance(tensor, OnCard) and tensor.dim()]
    if func._overloadpacket in (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_):
        target = args[0]
        if isinstance(target, OnCard):
            indices = {id(index) for index in args[1] if index is not None}
            here = [tensor for tensor in here if id(tensor) not in indices]
    if there and here:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in here)
        raise TwoDevices(
            f"{func}: expected all tensors to be on the same device, but {shapes} are on the CPU "
            "and the others on cuda:0"
        )
