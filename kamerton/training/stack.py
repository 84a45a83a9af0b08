"""Adapters of several runs side by side, so that one pass trains all of them.

The token axis of a batch has as many equal stretches as there are adapters. Every product of an
adapter is a product of its own in a batch of matrices: no run can see another's numbers.

Shapes: G adapters, L tokens of each, T = G L; r rank.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kamerton.inference.lora import Delta
from kamerton.training.adapter import Adapter, Layout


class Stack:
    """Copies of the weights for computing, and room for the gradients of one step."""

    def __init__(
        self, adapters: Sequence[Adapter], dtype: torch.dtype, draws: Sequence[str] = ()
    ) -> None:
        """`draws` are what dropout depends on beside the seed of each."""
        self._adapters = adapters
        self.count = len(adapters)
        self.dropout = any(adapter.dropout for adapter in adapters)
        self._draws = draws or [""] * self.count
        first = adapters[0]
        device = first.flat.device
        self._same = all(adapter.layout == first.layout for adapter in adapters)
        self.layout = first.layout if self._same else _union(adapters)
        if self.count == 1:
            assert first.flat.grad is not None
            self._weights = first.flat.detach()[None]
            self._gradients = first.flat.grad[None]
            self._gradients.zero_()
        else:
            self._weights = torch.stack([_laid(adapter, self.layout) for adapter in adapters])
            self._gradients = torch.zeros_like(self._weights)
        self._weights = self._weights.to(dtype)
        scales = [adapter.scale for adapter in adapters]
        self.scale: float | Tensor = scales[0]
        """A number, or [G, 1, 1]."""
        if len(set(scales)) > 1:
            self.scale = torch.tensor(scales, device=device, dtype=dtype)[:, None, None]

    def a(self, *names: str) -> Tensor:
        """[G, layers r, in] of layers that stand side by side."""
        return self._a(self._weights, *names)

    def b(self, name: str) -> Tensor:
        """[G, r, out]"""
        return self._b(self._weights, name)

    def add(self, a: Tensor, names: Sequence[str], b: Sequence[Tensor]) -> None:
        """Gradients of the A of layers that stand side by side, and of the B of each."""
        self._a(self._gradients, *names).add_(a)
        for name, gradient in zip(names, b, strict=True):
            self._b(self._gradients, name).add_(gradient)

    def give_back(self) -> None:
        """Put the gradients into the adapters."""
        if self.count == 1:
            return
        for adapter, gradient in zip(self._adapters, self._gradients, strict=True):
            assert adapter.flat.grad is not None
            if self._same:
                adapter.flat.grad.copy_(gradient)
                continue
            mine = adapter.layout
            for name in mine.shapes:
                for of in (Layout.of_a, Layout.of_b):
                    of(mine, adapter.flat.grad, name).copy_(
                        of(self.layout, gradient, name)[: mine.rank]
                    )

    def deltas(self) -> dict[str, Delta]:
        """What the layers of a model add, with gradients, for lora.adding."""
        # Without it, nothing that goes into the first layer would ask for gradients.
        anchor = torch.zeros((), requires_grad=True)
        return {name: self._delta(name, anchor) for name in self.layout.shapes}

    def _delta(self, name: str, anchor: Tensor) -> Delta:
        def delta(x: Tensor, y: Tensor) -> Tensor:
            added: Tensor = _Delta.apply(x, anchor, self, name)  # type: ignore[no-untyped-call]
            return y + added

        return delta

    def kept(self, name: str, size: int) -> Tensor:
        """[G, L, size], of the inputs of a layer: 0 for what dropout leaves out, else what makes
        up for it. It depends on seed, step, rows and layer alone: the same after a crash, and when
        it is computed twice."""
        device, masks = self._weights.device, []
        for adapter, draw in zip(self._adapters, self._draws, strict=True):
            seed = zlib.crc32(f"{adapter.seed}/{draw}/{name}".encode())
            generator = torch.Generator(device).manual_seed(seed)
            share = 1.0 - adapter.dropout
            drawn = torch.rand(self._length, size, generator=generator, device=device)
            masks.append((drawn < share) / share)
        return torch.stack(masks).to(self._weights.dtype)

    def begin(self, length: int) -> None:
        """`length` is L."""
        self._length = length

    def _a(self, flat: Tensor, *names: str) -> Tensor:
        start, inputs = self.layout.a[names[0]], self.layout.shapes[names[0]][0]
        rows = len(names) * self.layout.rank
        last = self.layout.a[names[-1]] + self.layout.rank * inputs
        assert last == start + rows * inputs, names
        return flat[:, start : start + rows * inputs].view(self.count, rows, inputs)

    def _b(self, flat: Tensor, name: str) -> Tensor:
        start, outputs = self.layout.b[name], self.layout.shapes[name][1]
        end = start + self.layout.rank * outputs
        return flat[:, start:end].view(self.count, self.layout.rank, outputs)


class _Delta(torch.autograd.Function):
    """s (x Aᵀ) Bᵀ of one layer; the gradients of A and B go into the stack."""

    @staticmethod
    def forward(context: Any, x: Tensor, anchor: Tensor, stack: Stack, name: str) -> Tensor:
        inputs = x.reshape(stack.count, -1, x.shape[-1])
        kept = stack.kept(name, x.shape[-1]) if stack.dropout else None
        if kept is not None:
            inputs = inputs * kept
        low = torch.bmm(inputs, stack.a(name).transpose(1, 2)) * stack.scale
        context.save_for_backward(inputs, low, kept)
        context.stack, context.name = stack, name
        return torch.bmm(low, stack.b(name)).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        inputs, low, kept = context.saved_tensors
        stack, name = context.stack, context.name
        (gradient,) = gradients
        outputs = gradient.reshape(stack.count, -1, gradient.shape[-1])
        back = torch.bmm(outputs, stack.b(name).transpose(1, 2)) * stack.scale
        stack.add(
            torch.bmm(back.transpose(1, 2), inputs),
            [name],
            [torch.bmm(low.transpose(1, 2), outputs)],
        )
        found = torch.bmm(back, stack.a(name))
        if kept is not None:
            found = found * kept
        return found.view(*gradient.shape[:-1], -1), None, None, None


def _union(adapters: Sequence[Adapter]) -> Layout:
    """Of the largest rank and all layers: what an adapter lacks is zero there, and stays so."""
    shapes: dict[str, tuple[int, int]] = {}
    for adapter in sorted(adapters, key=lambda adapter: -len(adapter.layout.shapes)):
        shapes |= {n: s for n, s in adapter.layout.shapes.items() if n not in shapes}
    # Layers with the same input stay side by side, as the decoder reads them.
    order = sorted(shapes, key=adapters[0].places.__getitem__)
    return Layout.of(max(a.layout.rank for a in adapters), {name: shapes[name] for name in order})


def _laid(adapter: Adapter, layout: Layout) -> Tensor:
    """Its weights as another layout has them, [size]."""
    weights, mine = adapter.flat.detach(), adapter.layout
    if mine == layout:
        return weights
    laid = weights.new_zeros(layout.size)
    for name in mine.shapes:
        layout.of_a(laid, name)[: mine.rank] = mine.of_a(weights, name)
        layout.of_b(laid, name)[: mine.rank] = mine.of_b(weights, name)
    return laid
