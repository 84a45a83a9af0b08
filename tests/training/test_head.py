"""The head in tiles is the plain head."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from kamerton.training import head

WORDS = 262_144


def plain(hidden: Tensor, weight: Tensor, targets: Tensor, softcap: float | None) -> Tensor:
    logits = hidden @ weight.t()
    if softcap is not None:
        logits = torch.tanh(logits / softcap) * softcap
    return cross_entropy(logits, targets, reduction="none")


def some(words: int, count: int = 24, size: int = 16) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(words)
    hidden = torch.randn(count, size, generator=generator) * 2
    weight = torch.randn(words, size, generator=generator)
    targets = torch.randint(0, words, (count,), generator=generator)
    targets[:3] = torch.tensor([0, words - 1, words // 2])
    return hidden, weight, targets


@pytest.mark.parametrize("softcap", [None, 30.0, 2.0])
@pytest.mark.parametrize(("words", "tile"), [(WORDS, None), (1000, 7), (1000, 999), (5, 512)])
def test_losses_and_gradients_are_those_of_the_plain_head(
    words: int, tile: int | None, softcap: float | None
) -> None:
    hidden, weight, targets = some(words)
    inputs = hidden.clone().requires_grad_()
    expected = plain(inputs, weight, targets, softcap)
    expected.sum().backward()  # type: ignore[no-untyped-call]
    found, gradient = head.losses(hidden, weight, targets, softcap=softcap, tile=tile)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-5, atol=1e-5)
    assert inputs.grad is not None and gradient is not None
    assert float((gradient - inputs.grad).norm() / inputs.grad.norm()) < 1e-5


def test_no_more_than_a_tile_of_the_logits_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    honest = head._logits

    def watched(hidden: Tensor, part: Tensor, *others: object) -> tuple[Tensor, Tensor | None]:
        sizes.append(len(hidden) * len(part))
        return honest(hidden, part, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(head, "_logits", watched)
    for words in (WORDS // 2, WORDS):
        head.losses(*some(words, count=200))
    assert len(sizes) > 10
    assert max(sizes) <= head.TILE


def test_far_apart_logits_do_not_overflow() -> None:
    hidden, weight, targets = some(1000)
    found, gradient = head.losses(hidden * 100, weight, targets, tile=10)
    expected = plain(hidden * 100, weight, targets, None)
    assert gradient is not None and torch.isfinite(gradient).all()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-3)


def test_half_precision_is_as_good_as_the_plain_one() -> None:
    hidden, weight, targets = (x.bfloat16() if x.is_floating_point() else x for x in some(4096))
    exact = plain(hidden.float(), weight.float(), targets, None)
    stock = cross_entropy((hidden @ weight.t()).float(), targets, reduction="none")
    found, _ = head.losses(hidden, weight, targets, tile=100)
    assert (found - exact).abs().max() <= 1.5 * (stock - exact).abs().max()
    assert found.min() >= 0


def test_for_autograd_it_is_the_same() -> None:
    hidden, weight, targets = some(300)
    inputs = hidden.clone().requires_grad_()
    shares = torch.linspace(0.1, 1, len(targets))
    losses = head.Losses.apply(inputs, weight, targets, None)  # type: ignore[no-untyped-call]
    (losses * shares).sum().backward()
    assert inputs.grad is not None
    found = inputs.grad.clone()
    inputs.grad = None
    (plain(inputs, weight, targets, None) * shares).sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(found, inputs.grad, rtol=1e-4, atol=1e-6)
