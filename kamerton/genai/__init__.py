"""Scripts written for google-generativeai, unchanged but for one line: `import kamerton.genai as
genai`. What goes wrong comes as `kamerton.errors`."""

from kamerton.genai import permission, types
from kamerton.genai.configuration import configure
from kamerton.genai.files import delete_file, get_file, list_files, upload_file
from kamerton.genai.generation import ChatSession, GenerationConfig, GenerativeModel
from kamerton.genai.models import get_base_model, get_model, list_models
from kamerton.genai.operations import get_operation, list_operations
from kamerton.genai.tuned_models import (
    delete_tuned_model,
    get_tuned_model,
    list_tuned_models,
    update_tuned_model,
)
from kamerton.genai.tuning import create_tuned_model

__all__ = [
    "ChatSession",
    "GenerationConfig",
    "GenerativeModel",
    "configure",
    "create_tuned_model",
    "delete_file",
    "delete_tuned_model",
    "get_base_model",
    "get_file",
    "get_model",
    "get_operation",
    "get_tuned_model",
    "list_files",
    "list_models",
    "list_operations",
    "list_tuned_models",
    "permission",
    "types",
    "update_tuned_model",
    "upload_file",
]
