"""The Gemma 3 decoder forward and backward by hand, over rows on one token axis.

At the size of tuning batches on a CPU, autograd and small modules cost several times what the
arithmetic does. Tests hold loss and every adapter gradient to the stock modules'.

Shapes: T tokens, H hidden, n heads, m key-value heads, g = n / m, d head size, r LoRA rank;
R rows of at most L tokens; A learned tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from kamerton.inference.weights import LoadedBase
from kamerton.training.adapter import NAME
from kamerton.training.attention import blocked
from kamerton.training.batches import Batch

MAX_SCORES = 4_000_000
"""R × L × L up to which attention is computed for all rows at once."""


def can_step(loaded: LoadedBase, batch: Batch) -> bool:
    """Whether this is the model, and the batch the size, that this file is for."""
    config = loaded.model.config
    return (
        loaded.is_small
        and config.model_type == "gemma3_text"
        and config.hidden_activation == "gelu_pytorch_tanh"
        and not config.attention_bias
        and not config.use_bidirectional_attention
        and config.final_logit_softcapping is None
        and config.attn_logit_softcapping is None
        and len(batch.lengths) * max(batch.lengths) ** 2 <= MAX_SCORES
    )


class Decoder:
    """A base model with an adapter on it; `step` adds to the gradients of the adapter."""

    def __init__(self, loaded: LoadedBase) -> None:
        model = loaded.model.model
        self._embedding: Tensor = model.embed_tokens.weight
        self._embedding_scale = float(model.embed_tokens.scalar_embed_scale)
        self._head: Tensor = loaded.model.lm_head.weight
        self._layers = [_Layer(layer) for layer in model.layers]
        self._norm = _Norm(model.norm)
        self._rotary = model.rotary_emb

    @torch.no_grad()
    def step(self, batch: Batch) -> float:
        """The mean loss in nats per learned token, after adding its gradients."""
        places = _Places(batch, self._rotary)
        log_probabilities = self._forward(batch, places)
        loss = functional.nll_loss(log_probabilities, batch.targets)

        gradient = log_probabilities.exp_()
        gradient[torch.arange(len(batch.targets)), batch.targets] -= 1.0
        gradient = self._norm.backward((gradient / len(batch.targets)) @ self._head)
        whole = gradient.new_zeros(batch.input_ids.shape[1], gradient.shape[1])
        gradient = whole.index_copy_(0, batch.predictors, gradient)
        for layer in reversed(self._layers):
            gradient = layer.backward(gradient, places)
        return float(loss)

    @torch.no_grad()
    def loss(self, batch: Batch) -> float:
        """The same loss, and nothing else."""
        log_probabilities = self._forward(batch, _Places(batch, self._rotary))
        return float(functional.nll_loss(log_probabilities, batch.targets))

    def _forward(self, batch: Batch, places: _Places) -> Tensor:
        """[A, vocabulary], log-probabilities of the learned tokens' places."""
        x = self._embedding[batch.input_ids[0]] * self._embedding_scale
        for layer in self._layers:
            x = layer.forward(x, places)
        hidden = self._norm.forward(x[batch.predictors])
        return functional.linear(hidden, self._head).log_softmax(-1)


class _Places:
    """Where the tokens of a batch lie: on the one axis, in their rows, on the circle."""

    def __init__(self, batch: Batch, rotary: Any) -> None:
        self.rows, self.longest = len(batch.lengths), max(batch.lengths)
        positions = batch.position_ids[0]
        row = torch.repeat_interleave(torch.arange(self.rows), torch.tensor(batch.lengths))
        self.slots = row * self.longest + positions
        """[T], each token's place when rows are padded to the longest."""
        self._batch = batch
        self._rotary = rotary
        self._turns: dict[str, tuple[Tensor, Tensor]] = {}

    def turns(self, layer_type: str) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines [T, 1, d] of the rotary embedding."""
        if layer_type not in self._turns:
            like = torch.empty(0)
            cos, sin = self._rotary(like, self._batch.position_ids, layer_type)
            half = sin.shape[-1] // 2
            signed = torch.cat([-sin[0, :, :half], sin[0, :, half:]], dim=-1)
            self._turns[layer_type] = (cos[0, :, None], signed[:, None])
        return self._turns[layer_type]

    def pad(self, x: Tensor) -> Tensor:
        """[T, heads, d] to [R, heads, L, d], zeros where a row is shorter."""
        padded = x.new_zeros(self.rows * self.longest, *x.shape[1:])
        padded.index_copy_(0, self.slots, x)
        return padded.view(self.rows, self.longest, *x.shape[1:]).transpose(1, 2)

    def unpad(self, x: Tensor) -> Tensor:
        """[R, heads, L, d] to [T, heads, d]."""
        return x.transpose(1, 2).reshape(-1, x.shape[1], x.shape[3])[self.slots]


class _Linear:
    """A frozen matrix W [out, in] with LoRA: y = x Wᵀ + s (x Aᵀ) Bᵀ (Hu et al., 2021)."""

    def __init__(self, module: Any) -> None:
        self._weight: Tensor = module.base_layer.weight
        self._a: Tensor = module.lora_A[NAME].weight
        self._b: Tensor = module.lora_B[NAME].weight
        self._scale = float(module.scaling[NAME])

    def forward(self, x: Tensor) -> Tensor:
        self._x = x
        self._low = functional.linear(x, self._a)
        y = functional.linear(x, self._weight)
        return y.addmm_(self._low, self._b.t(), alpha=self._scale)

    def backward(self, gradient: Tensor) -> Tensor:
        assert self._a.grad is not None and self._b.grad is not None
        self._b.grad.addmm_(gradient.t(), self._low, alpha=self._scale)
        low = gradient @ self._b
        self._a.grad.addmm_(low.t(), self._x, alpha=self._scale)
        return (gradient @ self._weight).addmm_(low, self._a, alpha=self._scale)


class _Norm:
    """y = x / rms(x) · gain over the last dimension (Zhang and Sennrich, 2019)."""

    def __init__(self, module: Any, scale: float = 1.0) -> None:
        self.gain: Tensor = (1.0 + module.weight.float()) * scale
        self._epsilon = float(module.eps)

    def forward(self, x: Tensor) -> Tensor:
        self._inverse = x.square().mean(-1, keepdim=True).add_(self._epsilon).rsqrt_()
        self._normal = x * self._inverse
        return self._normal * self.gain

    def backward(self, gradient: Tensor) -> Tensor:
        gradient = gradient * self.gain
        along = (gradient * self._normal).mean(-1, keepdim=True)
        return gradient.addcmul_(self._normal, along, value=-1.0).mul_(self._inverse)


class _Attention:
    def __init__(self, module: Any) -> None:
        self._q, self._k = _Linear(module.q_proj), _Linear(module.k_proj)
        self._v, self._o = _Linear(module.v_proj), _Linear(module.o_proj)
        self._type: str = module.layer_type
        self._window: int | None = module.sliding_window
        self._d = int(module.head_dim)
        self._m = module.k_proj.base_layer.out_features // self._d
        self._n = module.q_proj.base_layer.out_features // self._d
        # Queries and keys share one pass; the scale of the scores goes into the queries' gain.
        self._norm = _Norm(module.q_norm, module.scaling)
        keys = _Norm(module.k_norm)
        self._norm.gain = torch.cat(
            [self._norm.gain.expand(self._n, -1), keys.gain.expand(self._m, -1)]
        )

    def forward(self, x: Tensor, places: _Places) -> Tensor:
        n, m, d = self._n, self._m, self._d
        cos, sin = places.turns(self._type)
        turned = torch.cat([self._q.forward(x), self._k.forward(x)], dim=1).view(-1, n + m, d)
        turned = self._norm.forward(turned)
        turned = torch.addcmul(turned * cos, _swapped(turned), sin)
        values = self._v.forward(x).view(-1, m, d)
        padded = places.pad(torch.cat([turned, values], dim=1))
        rows, longest = places.rows, places.longest
        self._queries = padded[:, :n].reshape(rows, m, -1, d)  # [R, m, g L, d]
        self._keys, self._values = padded[:, n : n + m], padded[:, n + m :]  # [R, m, L, d]
        scores = (self._queries @ self._keys.transpose(-1, -2)).view(rows, n, longest, longest)
        # Padding comes after a row's last token, where the mask hides it from the row.
        scores.masked_fill_(blocked(longest, self._window, scores.device), float("-inf"))
        self._attended = scores.softmax(-1).view(rows, m, -1, longest)  # [R, m, g L, L]
        answer = (self._attended @ self._values).view(rows, n, longest, d)
        return self._o.forward(places.unpad(answer).flatten(1))

    def backward(self, gradient: Tensor, places: _Places) -> Tensor:
        n, m, d = self._n, self._m, self._d
        cos, sin = places.turns(self._type)
        gradient = places.pad(self._o.backward(gradient).view(-1, n, d))
        gradient = gradient.reshape(places.rows, m, -1, d)
        values = self._attended.transpose(-1, -2) @ gradient
        scores = torch.ops.aten._softmax_backward_data(
            gradient @ self._values.transpose(-1, -2), self._attended, -1, torch.float32
        )
        queries = (scores @ self._keys).view(places.rows, n, -1, d)
        keys = scores.transpose(-1, -2) @ self._queries
        turned = places.unpad(torch.cat([queries, keys, values], dim=1))
        turned, straight = turned[:, : n + m], turned[:, n + m :]
        turned = self._norm.backward(turned * cos + _swapped(turned * sin))
        return (
            self._q.backward(turned[:, :n].flatten(1))
            .add_(self._k.backward(turned[:, n:].flatten(1)))
            .add_(self._v.backward(straight.flatten(1)))
        )


class _FeedForward:
    def __init__(self, module: Any) -> None:
        self._gate, self._up = _Linear(module.gate_proj), _Linear(module.up_proj)
        self._down = _Linear(module.down_proj)

    def forward(self, x: Tensor) -> Tensor:
        self._gated, self._lifted = self._gate.forward(x), self._up.forward(x)
        self._active = functional.gelu(self._gated, approximate="tanh")
        return self._down.forward(self._active * self._lifted)

    def backward(self, gradient: Tensor) -> Tensor:
        gradient = self._down.backward(gradient)
        gated = torch.ops.aten.gelu_backward(
            gradient * self._lifted, self._gated, approximate="tanh"
        )
        lifted = self._up.backward(gradient.mul_(self._active))
        return self._gate.backward(gated).add_(lifted)


class _Layer:
    def __init__(self, module: Any) -> None:
        self._before_attention = _Norm(module.input_layernorm)
        self._attention = _Attention(module.self_attn)
        self._after_attention = _Norm(module.post_attention_layernorm)
        self._before_feed = _Norm(module.pre_feedforward_layernorm)
        self._feed = _FeedForward(module.mlp)
        self._after_feed = _Norm(module.post_feedforward_layernorm)

    def forward(self, x: Tensor, places: _Places) -> Tensor:
        attended = self._attention.forward(self._before_attention.forward(x), places)
        x = x + self._after_attention.forward(attended)
        return x + self._after_feed.forward(self._feed.forward(self._before_feed.forward(x)))

    def backward(self, gradient: Tensor, places: _Places) -> Tensor:
        fed = self._feed.backward(self._after_feed.backward(gradient))
        gradient = gradient + self._before_feed.backward(fed)
        attended = self._attention.backward(self._after_attention.backward(gradient), places)
        return gradient + self._before_attention.backward(attended)


def _swapped(x: Tensor) -> Tensor:
    """The halves of the last dimension the other way round."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([second, first], dim=-1)
