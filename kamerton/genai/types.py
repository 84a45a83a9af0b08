"""The classes of this package under the one name that scripts import them from."""

from kamerton.genai.contents import Content, Part
from kamerton.genai.files import File, FileState
from kamerton.genai.generation import CountTokensResponse, GenerationConfig, RequestOptions
from kamerton.genai.models import Model
from kamerton.genai.operations import CreateTunedModelMetadata, CreateTunedModelOperation
from kamerton.genai.permission import GranteeType, Permission, Permissions, Role
from kamerton.genai.responses import (
    BlockedPromptException,
    Candidate,
    FinishReason,
    GenerateContentResponse,
    IncompleteIterationError,
    StopCandidateException,
)
from kamerton.genai.safety import HarmBlockThreshold, HarmCategory, HarmProbability, SafetyRating
from kamerton.genai.tuned_models import (
    Hyperparameters,
    TunedModel,
    TunedModelState,
    TuningSnapshot,
    TuningTask,
)

__all__ = [
    "BlockedPromptException",
    "Candidate",
    "Content",
    "CountTokensResponse",
    "CreateTunedModelMetadata",
    "CreateTunedModelOperation",
    "File",
    "FileState",
    "FinishReason",
    "GenerateContentResponse",
    "GenerationConfig",
    "GranteeType",
    "HarmBlockThreshold",
    "HarmCategory",
    "HarmProbability",
    "Hyperparameters",
    "IncompleteIterationError",
    "Model",
    "Part",
    "Permission",
    "Permissions",
    "RequestOptions",
    "Role",
    "SafetyRating",
    "StopCandidateException",
    "TunedModel",
    "TunedModelState",
    "TuningSnapshot",
    "TuningTask",
]
