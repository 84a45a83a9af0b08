"""The nouns: what a tuned model, an example, a snapshot and an operation are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Generic, Literal, TypedDict, TypeVar

from kamerton.findings import Report

T = TypeVar("T")
Role = Literal["system", "user", "model"]
Scope = Literal["infer", "tuning", "admin"]
CredentialKind = Literal["key", "token"]
GranteeType = Literal["USER", "GROUP", "EVERYONE"]
PermissionRole = Literal["READER", "WRITER", "OWNER"]
"""Each includes the ones before it."""
Place = tuple[datetime, str]
"""Where a page of a list ended: time and id of its last item."""
NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)
"""In a place of a list that is in the order of its ids."""
FinishReason = Literal["STOP", "MAX_TOKENS"]


@dataclass(frozen=True, slots=True)
class Content:
    """One turn of a conversation; a `system` turn can only be the first."""

    role: Role
    text: str
    learn: bool = True
    """Of a model turn in an example: whether it is learned, or only read."""


@dataclass(frozen=True, slots=True)
class Example:
    """What the model is shown: turns that end with a user turn, and the answer to learn. Model
    turns among the first are learned as well, but those that say otherwise."""

    contents: tuple[Content, ...]
    output: str

    @classmethod
    def pair(cls, text_input: str, output: str) -> Example:
        return cls((Content("user", text_input),), output)


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A base model as the catalog knows it: where its weights are and how it likes to be tuned."""

    name: str
    weights: str
    """A local folder, or a Hugging Face hub id."""
    display_name: str = ""
    description: str = ""
    version: str = "001"
    aliases: tuple[str, ...] = ()
    """Other names for it; `*` matches any run of characters."""
    input_token_limit: int = 8192
    output_token_limit: int = 1024
    temperature: float = 1.0
    top_p: float = 0.95
    top_k: int = 64
    learning_rate: float = 0.001
    reference_batch_size: int | None = None
    """Other batches train at a peak learning rate in proportion; None: all at the same."""
    warmup_steps: int = 0
    lora_rank: int = 8
    lora_alpha: int = 16
    target_modules: tuple[str, ...] = ()
    """Ends of the names of the layers that adapters are on unless somebody asks for others; none
    means all linear ones but the head."""
    quantization: str = ""
    """nf4: the weights are held in 4 bits, and so are those that adapters are trained on."""

    @property
    def context_tokens(self) -> int:
        return self.input_token_limit + self.output_token_limit


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """What one run was decided to use; `learning_rate` is what the caller sees."""

    epoch_count: int
    batch_size: int
    learning_rate: float
    peak_learning_rate: float
    """What the optimizer really uses, after the base model's batch rule."""
    warmup_steps: int = 0
    lora_rank: int = 8
    lora_alpha: int = 16
    lora_dropout: float = 0.0
    """Share of the inputs of each adapter that a training step leaves out."""
    target_modules: tuple[str, ...] = ()
    """Ends of the names of the layers that get an adapter; none means all linear ones but the
    head."""
    rslora: bool = False
    """Scale by alpha / √rank instead of alpha / rank (Kalajdzievski, 2023, arXiv:2312.03732)."""
    seed: int = 0


class Given(TypedDict, total=False):
    """What a caller may choose of a run; None, as what is not there, leaves it open."""

    epoch_count: int | None
    batch_size: int | None
    learning_rate: float | None
    learning_rate_multiplier: float | None
    adapter_size: int | None
    """Rank of the adapter's matrices."""
    lora_alpha: int | None
    lora_dropout: float | None
    target_modules: Sequence[str] | None
    rslora: bool | None


NAMES = tuple(Given.__annotations__)
"""Of hyperparameters that a caller may choose."""
GIVEN = "given"
"""The reason for one that the caller has chosen."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a run may take at most; None means as much as it needs."""

    max_tokens: int | None = None
    """Tokens of prompts and answers that it trains on, over all epochs."""
    max_seconds: float | None = None
    """Of training, over all attempts."""


NO_BUDGET = Budget()


@dataclass(frozen=True, slots=True)
class Holdout:
    """Which share of the examples a run does not train on, but is measured with."""

    share: float = 0.1
    at_least: int = 4
    """Examples held out, whatever the share."""
    from_examples: int = 20
    """Below so many examples none is held out."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One training step as the caller sees it; step and epoch start at 1."""

    step: int
    epoch: int
    mean_loss: float
    """Mean cross-entropy in nats per answer token of the step's batch."""
    compute_time: datetime
    held_out_loss: float | None = None
    """The same of the held-out examples after the step, where it was measured."""
    start_loss: float | None = None
    """Of the first step only: the same of the held-out examples before it, the baseline point."""
    smoothed_loss: float | None = None
    """See `training.curve.smoothed`. None, as what follows, in runs from before it was kept."""
    learning_rate: float | None = None
    """With which the step was taken."""
    gradient_norm: float | None = None
    """Before it was clipped."""
    trained_tokens: int | None = None
    """Answer tokens of the step's batch."""
    tokens_per_second: float | None = None
    """Tokens of prompts and answers that went through the model in the step."""
    memory_bytes: int | None = None
    """The trainer's peak so far."""


@dataclass(frozen=True, slots=True)
class EarlyStopping:
    """When a run ends before its last step because it gets no better."""

    mode: Literal["auto", "on", "off"] = "auto"
    """`auto`: only where there are held-out examples to tell."""
    patience: int = 3
    """Measurements in a row without an improvement; without held-out examples, tenths of the
    run."""
    min_change: float = 0.01
    """Nats by which the loss must fall to count as better."""


EARLY_STOPPING = EarlyStopping()


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run on a dataset would be and take. None stands for what was not measured."""

    hyperparameters: Hyperparameters
    reasons: tuple[tuple[str, str], ...]
    """By field of the hyperparameters, why it was chosen so."""
    example_count: int
    """Examples to train on."""
    held_out_count: int
    total_steps: int
    """Without a budget."""
    tokens: int
    """Of prompts and answers over all epochs: what a price is asked for."""
    trained_tokens: int
    """Those of them that carry loss."""
    cost: float | None = None
    """By the operator's price, in the currency of that price."""
    seconds: float | None = None
    seconds_error: float | None = None
    """By how much `seconds` may be wrong either way."""
    memory_bytes: int | None = None
    """The trainer's peak."""
    budget_steps: int | None = None
    """After which step the budget would end the run; None when it would not."""
    budget_reason: str = ""
    budget_tokens: int | None = None
    """What those steps train on; `budget_cost` what it costs."""
    budget_cost: float | None = None


class State(StrEnum):
    """CREATING becomes ACTIVE or FAILED, and nothing leaves those."""

    CREATING = "CREATING"
    ACTIVE = "ACTIVE"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run ended without a model; `kind` is the name of a class in `errors`."""

    kind: str
    message: str
    """What happened, where, and what to do next."""
    reason: str = ""
    """A stable code, such as `NOT_FINITE`; "" in runs from before there were codes."""
    step: int | None = None
    row: int | None = None
    """The example that it is about, from 0, where it is about one."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the story of a run."""

    number: int
    """From 1, without gaps, in the order of the story."""
    time: datetime
    kind: str
    """A stable word, such as `started`, `resumed`, `epoch`, `stopped_early`, `failed`."""
    message: str
    step: int | None = None


Pattern = Literal[
    "healthy",
    "still_falling",
    "plateau",
    "not_converging",
    "overfitting",
    "divergence",
    "too_slow",
    "noisy",
    "too_short",
]


@dataclass(frozen=True, slots=True)
class Evidence:
    """A point of a curve that a diagnosis rests on."""

    step: int
    value: float
    what: str
    """Such as `lowest held-out loss`."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a loss curve means."""

    pattern: Pattern
    confidence: Literal["low", "medium", "high"]
    summary: str
    """What is seen, in a sentence or two with steps and values."""
    cause: str
    advice: str
    evidence: tuple[Evidence, ...] = ()
    request: tuple[tuple[str, float], ...] = ()
    """Hyperparameters of the next run by name (`epoch_count`, `batch_size`, `learning_rate`),
    those to change only."""


@dataclass(frozen=True, slots=True)
class TunedModel:
    """A tuned model from the moment it was asked for; its weights never change."""

    id: str
    uid: str
    """Unlike `id`, never used again after a delete; names its folder on disk."""
    base_model: str
    """Name in the catalog."""
    asked_base_model: str
    """The base model as the caller named it, for answers."""
    state: State
    hyperparameters: Hyperparameters
    example_count: int
    total_steps: int
    temperature: float
    top_p: float
    top_k: int
    create_time: datetime
    update_time: datetime
    source: str | None = None
    """Id of the tuned model this one continues from."""
    display_name: str = ""
    description: str = ""
    reader_project_numbers: tuple[int, ...] = ()
    truncated_example_count: int = 0
    """Examples that did not fit the base model's context and were cut for training."""
    start_time: datetime | None = None
    complete_time: datetime | None = None
    failure: Failure | None = None
    snapshots: tuple[Snapshot, ...] = ()
    budget: Budget = NO_BUDGET
    holdout: Holdout | None = None
    """How examples were held out; None when the caller brought validation data, or there are too
    few."""
    held_out_count: int = 0
    held_out_rows: tuple[int, ...] = ()
    """The first of the held-out examples, by their place among all of them, from 0."""
    report: Report | None = None
    """What the checks said about its dataset; None for models from before there were checks."""
    stop_reason: str = ""
    """Why the run ended before its last step, and which step was kept."""
    early_stopping: EarlyStopping = EARLY_STOPPING
    kept_step: int | None = None
    """The step whose weights are served; None for runs from before it was kept, or not ended."""
    verdict: str = ""
    """The report card in a sentence; "" where there is none."""
    reasons: tuple[tuple[str, str], ...] = ()
    """By field of the hyperparameters, why it was chosen so; none of models from before they
    were kept."""


@dataclass(frozen=True, slots=True)
class Operation:
    """The long-running creation of one tuned model, as progress and as work."""

    id: str
    tuned_model: TunedModel
    done: bool = False
    cancelled: bool = False
    """Somebody asked for it to stop; it is over only when `done`."""

    @property
    def completed_steps(self) -> int:
        snapshots = self.tuned_model.snapshots
        return snapshots[-1].step if snapshots else 0


@dataclass(frozen=True, slots=True)
class Permission:
    """What somebody may do with one tuned model."""

    id: str
    grantee_type: GranteeType
    email: str
    """Of the user or the group; "" for everyone."""
    role: PermissionRole


@dataclass(frozen=True, slots=True)
class File:
    """An uploaded file, gone when it expires."""

    id: str
    uid: str
    """Unlike `id`, never used again after a delete; names its bytes on disk."""
    owner: str
    display_name: str
    mime_type: str
    size_bytes: int
    sha256: str
    """Of the bytes, in hexadecimal."""
    create_time: datetime
    update_time: datetime
    expire_time: datetime


@dataclass(frozen=True, slots=True)
class Upload:
    """A session that sends a file piece by piece; whoever knows its secret may go on with it."""

    uid: str
    """Becomes the file's."""
    owner: str
    file_id: str
    """Asked for by the caller, or chosen when the session began."""
    display_name: str
    mime_type: str
    size: int | None
    """Bytes as announced; None when nobody said."""
    create_time: datetime
    expire_time: datetime
    file: File | None = None
    """What became of it, once it is finished."""


@dataclass(frozen=True, slots=True)
class Credential:
    """An API key or a bearer token as it is kept: never the secret itself."""

    id: str
    kind: CredentialKind
    owner: str
    scopes: frozenset[Scope]
    create_time: datetime
    expire_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking, and what their credential allows."""

    owner: str
    """The e-mail address that permissions are given to."""
    scopes: frozenset[Scope] = frozenset({"infer"})
    groups: frozenset[str] = frozenset()
    """E-mail addresses of the groups they are in."""


@dataclass(frozen=True, slots=True)
class GenerationConfig:
    """How to sample; None means the model's own default."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_output_tokens: int | None = None
    stop_sequences: tuple[str, ...] = ()
    candidate_count: int = 1
    seed: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logprobs: int | None = None
    """How many of the most probable tokens to tell beside each one that was taken; None asks for
    no probabilities at all."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token and the natural logarithm of its probability under the model's own softmax: at
    temperature 1, before penalties, top-k and top-p."""

    id: int
    text: str
    """Of this token alone: some bytes of a longer character become U+FFFD."""
    logprob: float


@dataclass(frozen=True, slots=True)
class TokenChoice:
    """One token of an answer, and the most probable ones in its place, best first."""

    chosen: TokenLogprob
    top: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of an answer; the last one of a candidate carries the reason it ended."""

    text: str
    candidate: int = 0
    finish_reason: FinishReason | None = None
    prompt_tokens: int = 0
    output_tokens: int = 0
    """Tokens of this candidate so far."""
    logprobs: tuple[TokenChoice, ...] | None = None
    """The tokens that begin in `text`, when that was asked for."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items of a list, and the token that asks for the next ones ("" at the end)."""

    items: tuple[T, ...] = field(default=())
    next_page_token: str = ""
