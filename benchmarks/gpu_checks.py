"""Whether a step computes on this device what stock PEFT does: loss and every gradient.

`python -m benchmarks.gpu_checks DEVICE` prints a line of JSON per check, and ends with 1 if one of
them fails. In bf16 and in 4 bits both ways round; there the yardstick is how far stock PEFT itself
is from its own float32.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from benchmarks import shapes, train_data
from kamerton.inference import attention, weights
from kamerton.inference.weights import LoadedBase
from kamerton.training import head
from kamerton.training.adapter import Adapter
from kamerton.training.rows import Row
from kamerton.training.switches import Switches
from kamerton.training.together import Together
from kamerton.types import BaseModel, Hyperparameters

RANK, ALPHA = 8, 16
EXACT = 2e-5
"""In float32, as a share of the norm of what is compared."""
ROUNDED = 2.0, 0.01
"""In bf16: so many times as far from float32 as stock PEFT is, and so much more."""
HYPERPARAMETERS = Hyperparameters(1, 4, 1e-3, 1e-3, lora_rank=RANK, lora_alpha=ALPHA)

Gradients = dict[str, Tensor]


def main(device: str) -> int:
    torch.backends.cuda.matmul.allow_tf32 = False
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        base = shapes.make("small", Path(folder))
        for name, apart, allowed in checks(base, device):
            good = apart <= allowed
            failed += not good
            said = {"check": name, "apart": apart, "allowed": allowed, "good": good}
            print(json.dumps(said), flush=True)
    return 1 if failed else 0


def checks(base: BaseModel, device: str) -> Iterator[tuple[str, float, float]]:
    """What is checked, how far apart both sides are, and how far they may be."""
    yield from attention_checks(torch.device(device))
    yield from head_checks(torch.device(device))
    loaded = weights.load(base, device)
    exact = replace(loaded, model=_model(base, device, torch.float32, attention.NAME))
    rows = train_data.rows(5, train_data.Lengths((4, 90), (2, 40)), loaded.model.config.vocab_size)
    truth = stock(_model(base, device, torch.float32, "eager"), rows, exact)
    for by_hand in (True, False):
        how = "by hand" if by_hand else "stock modules"
        ours = step(exact, rows, by_hand)
        yield f"fp32, {how}: loss", abs(ours[0] - truth[0]) / truth[0], EXACT
        yield f"fp32, {how}: gradients", worst(ours[1], truth[1]), EXACT * 10
    rounded = replace(loaded, model=_model(base, device, torch.bfloat16, attention.NAME))
    theirs = stock(_model(base, device, torch.bfloat16, "eager"), rows, rounded)
    yield from compared("bf16", rounded, rows, theirs, truth)
    four = weights.load(shapes.quantized(base), device)
    yield from compared(
        "nf4",
        four,
        rows,
        stock(_model(base, device, four.model.dtype, "eager", four=True), rows, four),
        stock(_model(base, device, torch.float32, "eager", four=True), rows, four),
    )


def compared(
    name: str,
    loaded: LoadedBase,
    rows: Sequence[Row],
    theirs: tuple[float, Gradients],
    truth: tuple[float, Gradients],
) -> Iterator[tuple[str, float, float]]:
    """Ours and stock PEFT's, both against float32 on the same weights."""
    times, more = ROUNDED
    for by_hand in (True, False):
        how = "by hand" if by_hand else "stock modules"
        ours = step(loaded, rows, by_hand)
        apart = abs(theirs[0] - truth[0]) / truth[0]
        found = abs(ours[0] - truth[0]) / truth[0]
        yield f"{name}, {how}: loss", found, times * apart + more
        apart = worst(theirs[1], truth[1])
        yield f"{name}, {how}: gradients", worst(ours[1], truth[1]), times * apart + more


def step(loaded: LoadedBase, rows: Sequence[Row], by_hand: bool) -> tuple[float, Gradients]:
    adapter = adapter_of(loaded)
    together = Together(loaded, Switches(by_hand=by_hand, compiled=False))
    loss = together.gradients(adapter, rows, 1)
    assert adapter.flat.grad is not None
    found = adapter.layout.parameters(adapter.flat.grad)
    return loss, {name: tensor.float().clone() for name, tensor in found.items()}


def adapter_of(loaded: LoadedBase) -> Adapter:
    """With B that are not zero, or A would have no gradient."""
    adapter = Adapter(loaded, HYPERPARAMETERS)
    drawn = torch.randn(adapter.flat.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        adapter.flat.add_(0.02 * drawn.to(adapter.flat.device))
    return adapter


def stock(model: Any, rows: Sequence[Row], loaded: LoadedBase) -> tuple[float, Gradients]:
    """PEFT's own modules, a row at a time."""
    peft = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear"))
    peft.train()
    # As TRL and PEFT do for 4 bits: where no gradient is asked for, bitsandbytes rounds more.
    peft.enable_input_require_grads()
    parameters = {
        name.replace(".default.", "."): parameter
        for name, parameter in peft.named_parameters()
        if "lora_" in name
    }
    with torch.no_grad():
        for name, tensor in adapter_of(loaded).parameters.items():
            parameters[name].copy_(tensor)
    learned = sum(row.learned for row in rows)
    whole = 0.0
    for row in rows:
        ((start, end),) = row.spans
        ids = torch.tensor([list(row.ids)], device=loaded.device)
        logits = peft(input_ids=ids[:, :-1], use_cache=False).logits[0, start - 1 : end - 1]
        loss = functional.cross_entropy(logits.float(), ids[0, start:end], reduction="sum")
        (loss / learned).backward()  # type: ignore[no-untyped-call]
        whole += loss.item() / learned
    return whole, {name: parameter.grad.float() for name, parameter in parameters.items()}


def worst(ours: Gradients, theirs: Gradients) -> float:
    """Of all matrices, the difference as a share of the norm."""
    assert ours.keys() == theirs.keys()
    return max(share(ours[name], theirs[name]) for name in ours)


def share(ours: Tensor, theirs: Tensor) -> float:
    apart: float = ((ours.float() - theirs.float()).norm() / theirs.float().norm()).item()
    return apart


def attention_checks(device: torch.device) -> Iterator[tuple[str, float, float]]:
    """Rows on one axis against each row by itself in float32, with and without a window."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    lengths, heads, groups, size = (70, 1, 300, 129), 4, 1, 64
    torch.manual_seed(0)
    q, k, v = made = [
        torch.randn(sum(lengths), count, size, device=device).to(dtype).requires_grad_()
        for count in (heads, groups, groups)
    ]
    for window in (None, 64):
        found = attention.attend(q, k, v, lengths, size**-0.5, window)
        exact = [tensor.detach().float().requires_grad_() for tensor in made]
        parts = zip(*(torch.split(tensor, list(lengths)) for tensor in exact), strict=True)
        expected = torch.cat([plain(q_, k_, v_, window) for q_, k_, v_ in parts])
        flow = torch.randn_like(expected)
        ours = torch.autograd.grad(found, made, flow.to(dtype))
        theirs = torch.autograd.grad(expected, exact, flow)
        allowed = 0.02 if dtype == torch.bfloat16 else EXACT
        name = f"attention, window {window}"
        yield f"{name}: values", share(found, expected), allowed
        apart = max(share(a, b) for a, b in zip(ours, theirs, strict=True))
        yield f"{name}: gradients", apart, allowed


def plain(query: Tensor, key: Tensor, value: Tensor, window: int | None) -> Tensor:
    """One row, [L, heads, d], by the book."""
    length, heads, size = query.shape
    q, k, v = (x.transpose(0, 1).expand(heads, -1, -1) for x in (query, key, value))
    places = torch.arange(length, device=query.device)
    back = places[:, None] - places[None, :]
    seen = (back >= 0) & (back < (window or length))
    scores = (q @ k.transpose(1, 2)) * size**-0.5
    found: Tensor = (scores.masked_fill(~seen, -torch.inf).softmax(-1) @ v).transpose(0, 1)
    return found


def head_checks(device: torch.device) -> Iterator[tuple[str, float, float]]:
    """Tiles of the vocabulary against all logits at once, in float32."""
    torch.manual_seed(0)
    hidden = torch.randn(37, 96, device=device)
    matrix = torch.randn(5000, 96, device=device)
    targets = torch.randint(5000, (37,), device=device)
    for softcap in (None, 30.0):
        found, gradient = head.losses(hidden, matrix, targets, softcap=softcap, tile=700)
        leaf = hidden.clone().requires_grad_()
        logits = leaf @ matrix.t()
        if softcap is not None:
            logits = torch.tanh(logits / softcap) * softcap
        expected = functional.cross_entropy(logits, targets, reduction="none")
        (exact,) = torch.autograd.grad(expected.sum(), leaf)
        assert gradient is not None
        yield f"head, soft cap {softcap}: losses", share(found, expected), EXACT
        yield f"head, soft cap {softcap}: gradient", share(gradient, exact), EXACT


def _model(
    base: BaseModel, device: str, dtype: torch.dtype, attention_: str, *, four: bool = False
) -> Any:
    more: dict[str, Any] = {}
    if four:
        more["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    model = AutoModelForCausalLM.from_pretrained(
        base.weights,
        dtype=dtype,
        attn_implementation=attention_,
        device_map={"": device},
        local_files_only=True,
        **more,
    )
    model.requires_grad_(False)
    return model.eval()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
