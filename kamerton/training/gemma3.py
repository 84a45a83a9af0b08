"""The Gemma 3 decoder forward and backward by hand, over rows on one token axis.

Autograd, small modules and casts cost as much as the arithmetic does; here only the arithmetic is
left. Tests hold loss and every adapter gradient to the stock modules'.

Shapes: T tokens, H hidden, n heads, m key-value heads, d head size; R rows of at most L tokens;
A learned tokens; G runs in one batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kamerton.inference import attention
from kamerton.inference.weights import LoadedBase
from kamerton.training import head
from kamerton.training.batches import Batch
from kamerton.training.pointwise import EAGER, Pointwise
from kamerton.training.stack import Stack


def can_step(loaded: LoadedBase) -> bool:
    """Whether this is the model that this file is for."""
    config = loaded.model.config
    return (
        config.model_type == "gemma3_text"
        and config.hidden_activation == "gelu_pytorch_tanh"
        and not config.attention_bias
        and not config.use_bidirectional_attention
        and config.attn_logit_softcapping is None
    )


class Decoder:
    """A base model; `step` puts gradients into a stack of adapters."""

    def __init__(self, loaded: LoadedBase, dtype: torch.dtype) -> None:
        """`dtype` is what products are computed in; a copy of the weights where they are not in
        it."""
        model = loaded.model.model
        self.dtype = dtype
        self._embed = model.embed_tokens
        self._head: Tensor = loaded.model.lm_head.weight.data.to(dtype)
        self._softcap: float | None = loaded.model.config.final_logit_softcapping
        self._epsilon = float(loaded.model.config.rms_norm_eps)
        self._layers = [
            _Layer(f"model.layers.{number}.", layer, self._epsilon, dtype)
            for number, layer in enumerate(model.layers)
        ]
        self._gain = _gain(model.norm)
        self._rotary = model.rotary_emb
        self.pointwise = EAGER
        """Or compiled."""

    def forget(self) -> None:
        """Free what a step that failed has kept."""
        for layer in self._layers:
            layer.forget()

    @torch.no_grad()
    def step(self, batch: Batch, stack: Stack, *, recompute: bool = False) -> list[float]:
        """The mean loss of each run in nats per learned token, after adding its gradients.

        To `recompute` the inside of layers takes a third more time, and much less memory.
        """
        pointwise = self.pointwise
        places = _Places(batch, self._rotary, self.dtype, pointwise)
        stack.begin(batch.tokens // stack.count)
        layers = self._layers
        x = self._embed(batch.input_ids).to(self.dtype)
        into, inverse = pointwise.norm(x, layers[0].gain, self._epsilon)
        kept = [(x, inverse)]
        """Of each layer, what comes into it."""
        for number, layer in enumerate(layers):
            next_gain = layers[number + 1].gain if number + 1 < len(layers) else self._gain
            ends = batch.ends if layer is layers[-1] else None
            x, into, inverse = layer.forward(x, into, next_gain, stack, places, ends)
            kept.append((x, inverse))
            if recompute:
                layer.forget()
        found, gradient = head.losses(
            into[batch.answers], self._head, batch.targets, softcap=self._softcap
        )
        assert gradient is not None
        gradient.mul_(_shares(batch).to(gradient.dtype)[:, None])
        back = torch.zeros_like(into).index_copy_(0, batch.answers, gradient)
        del into
        onward = torch.zeros_like(x)
        for number in reversed(range(len(layers))):
            layer = layers[number]
            next_gain = layers[number + 1].gain if number + 1 < len(layers) else self._gain
            x, inverse = kept[number]
            if recompute:
                into, _ = pointwise.norm(x, layer.gain, self._epsilon)
                ends = batch.ends if layer is layers[-1] else None
                layer.forward(x, into, next_gain, stack, places, ends)
            stream, stream_inverse = kept.pop()
            onward, back = layer.backward(
                onward, back, stream, stream_inverse, next_gain, stack, places
            )
        return means(found, batch)

    @torch.no_grad()
    def losses(self, batch: Batch, stack: Stack) -> list[float]:
        """The same losses, and nothing else."""
        hidden = self._hidden(batch, stack)
        found, _ = head.losses(
            hidden, self._head, batch.targets, softcap=self._softcap, gradient=False
        )
        return means(found, batch)

    @torch.no_grad()
    def logits(self, batch: Batch, stack: Stack) -> Tensor:
        """[A, V] in float32"""
        hidden = self._hidden(batch, stack)
        found = torch.nn.functional.linear(hidden, self._head).float()
        return found if self._softcap is None else attention.capped(found, self._softcap)

    def _hidden(self, batch: Batch, stack: Stack) -> Tensor:
        """[A, H], what goes into the head."""
        pointwise = self.pointwise
        places = _Places(batch, self._rotary, self.dtype, pointwise)
        x = self._embed(batch.input_ids).to(self.dtype)
        into, _ = pointwise.norm(x, self._layers[0].gain, self._epsilon)
        for number, layer in enumerate(self._layers):
            last = number + 1 == len(self._layers)
            next_gain = self._gain if last else self._layers[number + 1].gain
            ends = batch.ends if last else None
            x, into, _ = layer.forward(x, into, next_gain, stack, places, ends)
            layer.forget()
        return into[batch.answers]


def means(losses: Tensor, batch: Batch) -> list[float]:
    """Of each run, from [A]."""
    parts = torch.split(losses, list(batch.learned))
    found: list[float] = torch.stack([part.mean() for part in parts]).tolist()
    return found


def _shares(batch: Batch) -> Tensor:
    """[A], how much each learned token counts in the loss of its run."""
    device = batch.targets.device
    if len(batch.learned) == 1:
        return torch.full((batch.learned[0],), 1 / batch.learned[0], device=device)
    counts = torch.tensor(batch.learned)
    return counts.reciprocal().repeat_interleave(counts).to(device)


class _Places:
    """Where the tokens of a batch lie: on the one axis, in their rows, on the circle."""

    def __init__(self, batch: Batch, rotary: Any, dtype: torch.dtype, pointwise: Pointwise) -> None:
        self.pointwise = pointwise
        self.lengths = batch.lengths
        self.rows, self.longest = len(batch.lengths), max(batch.lengths)
        self.is_even = min(batch.lengths) == self.longest
        device = batch.input_ids.device
        self.is_plain = not (device.type == "cuda" and dtype == torch.bfloat16) and (
            self.rows * self.longest**2 <= attention.MAX_SCORES and self.longest < attention.LONG
        )
        """Whether the scores of all rows are computed at once, and kept."""
        self.slots = attention.slots(batch.lengths, device)
        self._positions = batch.position_ids[None]
        self._rotary = rotary
        self._dtype = dtype
        self._turns: dict[str, tuple[Tensor, Tensor]] = {}

    def turns(self, layer_type: str) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines [T, 1, d] of the rotary embedding, rounded as the stock ones
        are."""
        if layer_type not in self._turns:
            like = torch.empty(0, device=self._positions.device, dtype=self._dtype)
            cos, sin = self._rotary(like, self._positions, layer_type)
            half = sin.shape[-1] // 2
            signed = torch.cat([-sin[0, :, :half], sin[0, :, half:]], dim=-1)
            self._turns[layer_type] = (cos[0, :, None], signed[:, None])
        return self._turns[layer_type]

    def pad(self, x: Tensor) -> Tensor:
        """[T, heads, d] to [R, heads, L, d], zeros where a row is shorter."""
        if not self.is_even:
            padded = x.new_zeros(self.rows * self.longest, *x.shape[1:])
            x = padded.index_copy_(0, self.slots, x)
        return x.view(self.rows, self.longest, *x.shape[1:]).transpose(1, 2)

    def unpad(self, x: Tensor) -> Tensor:
        """[R, heads, L, d] to [T, heads, d]."""
        x = x.transpose(1, 2).reshape(-1, x.shape[1], x.shape[3])
        return x if self.is_even else x[self.slots]


class _Linears:
    """Frozen layers with the same input, as one matrix, and what adapters add to them."""

    def __init__(self, prefix: str, modules: dict[str, Any], dtype: torch.dtype) -> None:
        self._modules = list(modules.values())
        self._widths = [module.out_features for module in self._modules]
        self._names = [prefix + name for name in modules]
        self._dtype = dtype
        self._weight: Tensor | None = None
        if all(module.weight.is_floating_point() for module in self._modules):
            self._weight = _side_by_side(self._modules, dtype)

    def forward(self, x: Tensor, stack: Stack) -> Tensor:
        """[T, in] to [T, outs]."""
        self._x = x
        y = torch.nn.functional.linear(x, self._matrix())
        self._with = [
            (name, start, start + width)
            for name, start, width in zip(self._names, self._starts(), self._widths, strict=True)
            if name in stack.layout.shapes
        ]
        if not self._with:
            return y
        a = stack.a(*(name for name, _, _ in self._with))
        rank, count = stack.layout.rank, stack.count
        if count == 1:
            self._low = (x @ a[0].t()).mul_(stack.scale)[None]
            for place, (name, start, end) in enumerate(self._with):
                low = self._low[0, :, place * rank : (place + 1) * rank]
                y[:, start:end].addmm_(low, stack.b(name)[0])
            return y
        self._low = torch.bmm(x.view(count, -1, x.shape[1]), a.transpose(1, 2)).mul_(stack.scale)
        whole = y.view(count, -1, y.shape[1])
        for place, (name, start, end) in enumerate(self._with):
            low = self._low[:, :, place * rank : (place + 1) * rank]
            whole[:, :, start:end] += torch.bmm(low, stack.b(name))
        return y

    def backward(self, gradient: Tensor, stack: Stack) -> Tensor:
        """[T, outs] to [T, in]."""
        x = self._x
        found = gradient @ self._matrix()
        if not self._with:
            return found
        low = self._low
        names = [name for name, _, _ in self._with]
        rank, count = stack.layout.rank, stack.count
        outs = gradient.view(count, -1, gradient.shape[1])
        back = torch.empty_like(low)
        b = []
        for place, (name, start, end) in enumerate(self._with):
            columns = slice(place * rank, (place + 1) * rank)
            own = outs[:, :, start:end]
            if count == 1:
                torch.mm(own[0], stack.b(name)[0].t(), out=back[0, :, columns])
                b.append((low[0, :, columns].t() @ own[0])[None])
            else:
                back[:, :, columns] = torch.bmm(own, stack.b(name).transpose(1, 2))
                b.append(torch.bmm(low[:, :, columns].transpose(1, 2), own))
        back.mul_(stack.scale)
        a = stack.a(*names)
        if count == 1:
            stack.add((back[0].t() @ x)[None], names, b)
            self.forget()
            return found.addmm_(back[0], a[0])
        stack.add(torch.bmm(back.transpose(1, 2), x.view(count, -1, x.shape[1])), names, b)
        found.view(count, -1, found.shape[1]).baddbmm_(back, a)
        self.forget()
        return found

    def forget(self) -> None:
        self._x = self._low = None  # type: ignore[assignment]

    def _matrix(self) -> Tensor:
        """[outs, in]; from 4 bits each time it is needed."""
        if self._weight is not None:
            return self._weight
        from bitsandbytes.functional import dequantize_4bit

        weights = (module.weight for module in self._modules)
        return torch.cat(
            [
                weight.data
                if weight.is_floating_point()
                else dequantize_4bit(weight.data, weight.quant_state)
                for weight in weights
            ]
        ).to(self._dtype)

    def _starts(self) -> list[int]:
        starts = [0]
        for width in self._widths[:-1]:
            starts.append(starts[-1] + width)
        return starts


def _side_by_side(modules: list[Any], dtype: torch.dtype) -> Tensor:
    """Their weights as one matrix, of which each module has its part from now on; in another
    dtype a copy."""
    if modules[0].weight.dtype != dtype:
        return torch.cat([module.weight.data.to(dtype) for module in modules])
    if len(modules) == 1:
        only: Tensor = modules[0].weight.data
        return only
    whole = torch.cat([module.weight.data for module in modules])
    parts = torch.split(whole, [module.out_features for module in modules])
    for module, part in zip(modules, parts, strict=True):
        module.weight.data = part
    return whole


def _gain(module: Any, scale: float = 1.0) -> Tensor:
    """[size] in float32"""
    gain: Tensor = (1.0 + module.weight.float()) * scale
    return gain


def _spread(x: Tensor, places: Tensor | None, count: int) -> Tensor:
    """Put rows where they were taken from, zeros elsewhere."""
    if places is None:
        return x
    return x.new_zeros(count, x.shape[1]).index_add_(0, places, x)


class _Attention:
    def __init__(self, prefix: str, module: Any, epsilon: float, dtype: torch.dtype) -> None:
        self._qkv = _Linears(
            prefix,
            {"q_proj": module.q_proj, "k_proj": module.k_proj, "v_proj": module.v_proj},
            dtype,
        )
        self._o = _Linears(prefix, {"o_proj": module.o_proj}, dtype)
        self._epsilon = epsilon
        self._type: str = module.layer_type
        self._window: int | None = module.sliding_window
        self._d = int(module.head_dim)
        self._m = module.k_proj.out_features // self._d
        self._n = module.q_proj.out_features // self._d
        # Queries and keys share one pass; the scale of the scores goes into the queries' gain.
        queries, keys = _gain(module.q_norm, module.scaling), _gain(module.k_norm)
        self._gain = torch.cat([queries.expand(self._n, -1), keys.expand(self._m, -1)])

    def forward(self, x: Tensor, stack: Stack, places: _Places, ends: Tensor | None) -> Tensor:
        n, m, d = self._n, self._m, self._d
        cos, sin = places.turns(self._type)
        all_ = self._qkv.forward(x, stack).view(-1, n + 2 * m, d)
        self._straight = all_[:, : n + m]
        turned, self._inverse = places.pointwise.turn(
            self._straight, self._gain, cos, sin, self._epsilon
        )
        answer = (
            self._scored(turned, all_[:, n + m :], places)
            if places.is_plain
            else self._attend(turned, all_[:, n + m :], places)
        )
        answer = answer.flatten(1)
        return self._o.forward(answer if ends is None else answer[ends], stack)

    def backward(
        self, gradient: Tensor, stack: Stack, places: _Places, ends: Tensor | None
    ) -> Tensor:
        n, m, d = self._n, self._m, self._d
        cos, sin = places.turns(self._type)
        gradient = self._o.backward(gradient, stack)
        gradient = _spread(gradient, ends, len(self._straight)).view(-1, n, d)
        turned, values = (
            self._scored_back(gradient, places) if places.is_plain else self._attend_back(gradient)
        )
        back = torch.empty(
            len(gradient), n + 2 * m, d, dtype=gradient.dtype, device=gradient.device
        )
        back[:, : n + m] = places.pointwise.turn_back(
            turned, self._straight, self._inverse, self._gain, cos, sin
        )
        back[:, n + m :] = values
        self._straight = self._inverse = None  # type: ignore[assignment]
        return self._qkv.backward(back.flatten(1), stack)

    def _scored(self, turned: Tensor, values: Tensor, places: _Places) -> Tensor:
        """[T, n, d], with products of all rows at once."""
        n, m, d = self._n, self._m, self._d
        padded = places.pad(torch.cat([turned, values], dim=1))
        rows, longest = places.rows, places.longest
        self._queries = padded[:, :n].reshape(rows, m, -1, d)  # [R, m, g L, d]
        self._keys, self._values = padded[:, n : n + m], padded[:, n + m :]  # [R, m, L, d]
        scores = (self._queries @ self._keys.transpose(-1, -2)).view(rows, n, longest, longest)
        # Padding comes after a row's last token, where the mask hides it from the row.
        hidden = attention.blocked(longest, self._window, scores.device)
        shares = scores.masked_fill_(hidden, float("-inf")).softmax(-1)
        self._shares = shares.view(rows, m, -1, longest)  # [R, m, g L, L]
        answer = (self._shares @ self._values).view(rows, n, longest, d)
        return places.unpad(answer)

    def _scored_back(self, gradient: Tensor, places: _Places) -> tuple[Tensor, Tensor]:
        n, m, d = self._n, self._m, self._d
        shares, queries, keys = self._shares, self._queries, self._keys
        gradient = places.pad(gradient).reshape(places.rows, m, -1, d)
        values = shares.transpose(-1, -2) @ gradient
        scores = torch.ops.aten._softmax_backward_data(
            gradient @ self._values.transpose(-1, -2), shares, -1, shares.dtype
        )
        queries_back = (scores @ keys).view(places.rows, n, -1, d)
        keys_back = scores.transpose(-1, -2) @ queries
        self._shares = self._queries = self._keys = self._values = None  # type: ignore[assignment]
        back = places.unpad(torch.cat([queries_back, keys_back, values], dim=1))
        return back[:, : n + m], back[:, n + m :]

    def _attend(self, turned: Tensor, values: Tensor, places: _Places) -> Tensor:
        """The same by whatever kernel is best for long rows and this device, with autograd for
        this one step."""
        with torch.enable_grad():
            self._inputs = [x.detach().requires_grad_() for x in (turned, values)]
            turned, values = self._inputs
            self._output = attention.attend(
                turned[:, : self._n],
                turned[:, self._n :],
                values,
                places.lengths,
                1.0,
                self._window,
            )
        return self._output.detach()

    def _attend_back(self, gradient: Tensor) -> tuple[Tensor, Tensor]:
        turned, values = torch.autograd.grad(self._output, self._inputs, gradient)
        self._output = self._inputs = None  # type: ignore[assignment]
        return turned, values

    def forget(self) -> None:
        self._qkv.forget()
        self._o.forget()
        self._straight = self._inverse = self._shares = None  # type: ignore[assignment]
        self._queries = self._keys = self._values = None  # type: ignore[assignment]
        self._output = self._inputs = None  # type: ignore[assignment]


class _FeedForward:
    def __init__(self, prefix: str, module: Any, dtype: torch.dtype) -> None:
        both = {"gate_proj": module.gate_proj, "up_proj": module.up_proj}
        self._both = _Linears(prefix, both, dtype)
        self._down = _Linears(prefix, {"down_proj": module.down_proj}, dtype)

    def forward(self, x: Tensor, stack: Stack, places: _Places) -> Tensor:
        self._gated = self._both.forward(x, stack)
        return self._down.forward(places.pointwise.gate(self._gated), stack)

    def backward(self, gradient: Tensor, stack: Stack, places: _Places) -> Tensor:
        gradient = self._down.backward(gradient, stack)
        back = places.pointwise.gate_back(gradient, self._gated)
        self._gated = None  # type: ignore[assignment]
        return self._both.backward(back, stack)

    def forget(self) -> None:
        self._both.forget()
        self._down.forget()
        self._gated = None  # type: ignore[assignment]


class _Layer:
    def __init__(self, prefix: str, module: Any, epsilon: float, dtype: torch.dtype) -> None:
        self._epsilon = epsilon
        self.gain = _gain(module.input_layernorm)
        self._attention = _Attention(prefix + "self_attn.", module.self_attn, epsilon, dtype)
        self._after_attention = _gain(module.post_attention_layernorm)
        self._before_feed = _gain(module.pre_feedforward_layernorm)
        self._feed = _FeedForward(prefix + "mlp.", module.mlp, dtype)
        self._after_feed = _gain(module.post_feedforward_layernorm)

    def forward(
        self,
        x: Tensor,
        into: Tensor,
        next_gain: Tensor,
        stack: Stack,
        places: _Places,
        ends: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The stream and what goes into its first branch to the same of the next layer, and
        1 / rms of that stream. After the attention only tokens at `ends` go on, where given."""
        self._ends, self._tokens = ends, len(x)
        join = places.pointwise.join
        attended = self._attention.forward(into, stack, places, ends)
        if ends is not None:
            x = x[ends]
        middle, attended_inverse, into, middle_inverse = join(
            x, attended, self._after_attention, self._before_feed, self._epsilon
        )
        fed = self._feed.forward(into, stack, places)
        x, fed_inverse, into, inverse = join(
            middle, fed, self._after_feed, next_gain, self._epsilon
        )
        self._kept = (attended, attended_inverse, middle, middle_inverse, fed, fed_inverse)
        return x, into, inverse

    def backward(
        self,
        onward: Tensor,
        into: Tensor,
        stream: Tensor,
        stream_inverse: Tensor,
        next_gain: Tensor,
        stack: Stack,
        places: _Places,
    ) -> tuple[Tensor, Tensor]:
        """Gradients of what `forward` returned to those of what it was given."""
        join_back = places.pointwise.join_back
        attended, attended_inverse, middle, middle_inverse, fed, fed_inverse = self._kept
        self._kept = None  # type: ignore[assignment]
        onward, branch = join_back(
            onward, into, stream, stream_inverse, next_gain, fed, fed_inverse, self._after_feed
        )
        into = self._feed.backward(branch, stack, places)
        onward, branch = join_back(
            onward,
            into,
            middle,
            middle_inverse,
            self._before_feed,
            attended,
            attended_inverse,
            self._after_attention,
        )
        back = self._attention.backward(branch, stack, places, self._ends)
        return _spread(onward, self._ends, self._tokens), back

    def forget(self) -> None:
        """Free what `backward` would need."""
        self._attention.forget()
        self._feed.forget()
        self._kept = None  # type: ignore[assignment]
