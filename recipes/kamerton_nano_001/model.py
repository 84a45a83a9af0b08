"""A lean training module whose parameters bear the names of `Gemma3ForCausalLM`'s."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Shape:
    """The model's dimensions."""

    vocabulary: int = 2048
    hidden: int = 192
    layers: int = 6
    heads: int = 4
    kv_heads: int = 2
    head: int = 48
    inner: int = 576
    positions: int = 1024
    window: int = 512
    local_theta: float = 1e4
    global_theta: float = 1e6
    epsilon: float = 1e-6


class Linear(nn.Module):
    """A matrix kept in fp32 and used in the precision of its input."""

    def __init__(self, fan_in: int, fan_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(fan_out, fan_in) * 0.5 / math.sqrt(fan_in))

    def forward(self, inputs: Tensor) -> Tensor:
        return F.linear(inputs, self.weight.to(inputs.dtype))


class RmsNorm(torch.autograd.Function):
    """The norm in a few passes over memory: torch's own takes three times as long on a CPU."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, scale: Tensor, epsilon: float) -> Tensor:
        size = inputs.shape[-1]
        length = torch.linalg.vector_norm(inputs, dim=-1, keepdim=True, dtype=torch.float32)
        inverse = (length.square() / size + epsilon).rsqrt().to(inputs.dtype)
        unit = inputs * inverse
        ctx.save_for_backward(unit, inverse, scale)
        scaled: Tensor = unit * scale
        return scaled

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        unit, inverse, scale = ctx.saved_tensors
        size = unit.shape[-1]
        (gradient,) = gradients
        product = (gradient * unit).reshape(-1, size)
        to_scale = product.new_ones(1, len(product)) @ product
        along = (product @ (scale / size)).reshape(inverse.shape)
        to_inputs = torch.addcmul(gradient * scale, unit, along, value=-1).mul_(inverse)
        return to_inputs, to_scale[0], None


class Norm(nn.Module):
    """Gemma's RMS norm: the stored weight is the distance from one."""

    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(size))
        self.epsilon = epsilon

    def forward(self, inputs: Tensor) -> Tensor:
        scale = (1 + self.weight).to(inputs.dtype)
        normed: Tensor = RmsNorm.apply(inputs, scale, self.epsilon)  # type: ignore[no-untyped-call]
        return normed


class Attention(nn.Module):
    """Causal attention with shared key-value heads; documents are shorter than the window."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.q_proj = Linear(shape.hidden, shape.heads * shape.head)
        self.k_proj = Linear(shape.hidden, shape.kv_heads * shape.head)
        self.v_proj = Linear(shape.hidden, shape.kv_heads * shape.head)
        self.o_proj = Linear(shape.heads * shape.head, shape.hidden)
        self.q_norm = Norm(shape.head, shape.epsilon)
        self.k_norm = Norm(shape.head, shape.epsilon)

    def forward(self, inputs: Tensor, rotation: tuple[Tensor, Tensor], bias: Tensor) -> Tensor:
        size, head = self.shape, self.shape.head
        batch, length, _ = inputs.shape
        group = size.heads // size.kv_heads
        query = self.q_proj(inputs).view(batch, length, size.heads, head).transpose(1, 2)
        key = self.k_proj(inputs).view(batch, length, size.kv_heads, head).transpose(1, 2)
        value = self.v_proj(inputs).view(batch, length, size.kv_heads, head).transpose(1, 2)
        query = rotate(self.q_norm(query), rotation) * head**-0.5
        key = rotate(self.k_norm(key), rotation)
        query = query.reshape(batch, size.kv_heads, group * length, head)
        scores = (query @ key.transpose(2, 3)).view(batch, size.kv_heads, group, length, length)
        weights = torch.softmax(scores + bias, -1).view(batch, size.kv_heads, -1, length)
        mixed = (weights @ value).view(batch, size.heads, length, head)
        joined = mixed.transpose(1, 2).reshape(batch, length, size.heads * head)
        output: Tensor = self.o_proj(joined)
        return output


class Perceptron(nn.Module):
    """Gemma's gated feed-forward block."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = Linear(shape.hidden, shape.inner)
        self.up_proj = Linear(shape.hidden, shape.inner)
        self.down_proj = Linear(shape.inner, shape.hidden)

    def forward(self, inputs: Tensor) -> Tensor:
        gate = F.gelu(self.gate_proj(inputs), approximate="tanh")
        output: Tensor = self.down_proj(gate * self.up_proj(inputs))
        return output


class Layer(nn.Module):
    """One transformer layer, normed before and after each block."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self_attn = Attention(shape)
        self.mlp = Perceptron(shape)
        self.input_layernorm = Norm(shape.hidden, shape.epsilon)
        self.post_attention_layernorm = Norm(shape.hidden, shape.epsilon)
        self.pre_feedforward_layernorm = Norm(shape.hidden, shape.epsilon)
        self.post_feedforward_layernorm = Norm(shape.hidden, shape.epsilon)

    def forward(self, inputs: Tensor, rotation: tuple[Tensor, Tensor], bias: Tensor) -> Tensor:
        attended = self.self_attn(self.input_layernorm(inputs), rotation, bias)
        inputs = inputs + self.post_attention_layernorm(attended)
        changed = self.mlp(self.pre_feedforward_layernorm(inputs))
        output: Tensor = inputs + self.post_feedforward_layernorm(changed)
        return output


class Backbone(nn.Module):
    """Embedding, layers and last norm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.hidden)
        nn.init.normal_(self.embed_tokens.weight, std=0.5 / math.sqrt(shape.hidden))
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = Norm(shape.hidden, shape.epsilon)


class Nano(nn.Module):
    """The whole model; the head is the embedding."""

    def __init__(self, shape: Shape, precision: torch.dtype = torch.bfloat16) -> None:
        super().__init__()
        self.shape = shape
        self.precision = precision
        self.model = Backbone(shape)
        self._rotations: dict[tuple[int, float], tuple[Tensor, Tensor]] = {}
        self._biases: dict[int, Tensor] = {}

    @property
    def device(self) -> torch.device:
        return self.model.embed_tokens.weight.device

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Logits at the given flat positions of a batch of right-padded tokens."""
        shape, length = self.shape, tokens.shape[1]
        hidden = self.model.embed_tokens(tokens) * math.sqrt(shape.hidden)
        hidden = hidden.to(self.precision)
        for index, layer in enumerate(self.model.layers):
            last = index == shape.layers - 1
            theta = shape.global_theta if last else shape.local_theta
            hidden = layer(hidden, self._rotation(length, theta), self._bias(length))
        hidden = self.model.norm(hidden.reshape(-1, shape.hidden)[positions])
        return F.linear(hidden, self.model.embed_tokens.weight.to(self.precision)).float()

    def _rotation(self, length: int, theta: float) -> tuple[Tensor, Tensor]:
        if (length, theta) not in self._rotations:
            half = torch.arange(0, self.shape.head, 2) / self.shape.head
            angles = torch.outer(torch.arange(length), theta**-half)
            angles = torch.cat((angles, angles), -1)
            angles = angles.to(self.device)
            pair = (angles.cos().to(self.precision), angles.sin().to(self.precision))
            self._rotations[length, theta] = pair
        return self._rotations[length, theta]

    def _bias(self, length: int) -> Tensor:
        """Zero where attention is allowed; right padding needs no mask of its own."""
        if length not in self._biases:
            blocked = torch.full((length, length), -1e9).triu(1)
            self._biases[length] = blocked.to(self.device, self.precision)
        return self._biases[length]


def rotate(inputs: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    cosine, sine = rotation
    left, right = inputs.chunk(2, -1)
    return inputs * cosine + torch.cat((-right, left), -1) * sine
