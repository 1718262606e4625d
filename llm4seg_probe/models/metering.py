"""Counting what a forward pass does while it runs: its operations, and what it keeps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from typing import Any, Self

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


def storage_of(tensor: Tensor) -> int:
    """Number of the memory that a tensor is a view of; the same for all views of it."""
    number: int = StorageWeakRef(tensor.untyped_storage()).cdata  # type: ignore[no-untyped-call]
    return number


class Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts, while it is active, the operations of each part of a network.

    ``part`` is the one that is running, and may be set at any time. ``macs`` are the
    multiply-accumulates by part, of matrix products and convolutions, from torch's own
    formulas. ``first_use`` says which part used a parameter first, by :func:`storage_of`, and
    ``views`` holds the numbers of what is a view of one.
    """

    def __init__(self, part: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.part = part
        self.macs: Counter[str] = Counter()
        self.first_use: dict[int, str] = {}
        self.views: set[int] = set()
        self._used: list[Tensor] = []  # alive, so that no other storage takes its number

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run one operation and count it."""
        kwargs = kwargs or {}
        for value in tree_leaves((args, kwargs)):
            if isinstance(value, torch.nn.Parameter) and storage_of(value) not in self.first_use:
                self.first_use[storage_of(value)] = self.part
                self._used.append(value)
        result = func(*args, **kwargs)
        if func.is_view and self._is_weight(args[0]):
            # Without content a view of a parameter does not share the parameter's own memory.
            views = [value for value in tree_leaves(result) if isinstance(value, Tensor)]
            self.views.update(map(storage_of, views))
            self._used += views
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.macs[self.part] += formula(*args, **kwargs, out_val=result) // 2
        return result

    def _is_weight(self, tensor: Tensor) -> bool:
        return isinstance(tensor, torch.nn.Parameter) or storage_of(tensor) in self.views


class Saved:
    """Sizes, while it is active, what autograd saves for the backward pass.

    ``bytes`` are counted once per piece of memory, in the part that saved it first; parameters
    (whose numbers ``but`` holds) and views of them are left out, since they are there anyway.
    """

    def __init__(self, meter: Meter, but: Container[int]) -> None:
        self.bytes: Counter[str] = Counter()
        self._kept: dict[int, Tensor] = {}

        def pack(tensor: Tensor) -> Tensor:
            number = storage_of(tensor)
            if not (number in but or number in meter.views or number in self._kept):
                self._kept[number] = tensor
                self.bytes[meter.part] += tensor.untyped_storage().nbytes()
            return tensor

        self._hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)

    def __enter__(self) -> Self:
        self._hooks.__enter__()
        return self

    def __exit__(self, *failure: Any) -> None:
        self._hooks.__exit__(*failure)
