"""The methods of the Gemini API as its protos publish them, for any transport: a line for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kamerton.service import access
from kamerton.surfaces.gemini import methods, published
from kamerton.surfaces.gemini.methods import Call


@dataclass(frozen=True, slots=True)
class Rpc:
    """One method."""

    service: str
    """Full name of its service; "" for what only our HTTP paths offer."""
    name: str
    verb: str
    """The line of `access.RIGHTS` that says who may call it."""
    request: Any
    response: Any
    """Message class; of one piece when the answer is a stream."""
    function: Callable[[Call, Any], Any]
    takes_long: bool = False
    """May take long, and ends early when the client leaves."""
    waits: bool = False
    """Takes long because it waits for an operation, not for an answer of a model."""
    streams: bool = False


_PACKAGE = "google.ai.generativelanguage.v1beta."
_MODELS = _PACKAGE + "ModelService"
_PERMISSIONS = _PACKAGE + "PermissionService"
_GENERATION = _PACKAGE + "GenerativeService"
_FILES = _PACKAGE + "FileService"
_OPERATIONS = "google.longrunning.Operations"
_p, _m = published, methods

# fmt: off
RPCS = {rpc.name: rpc for rpc in (
    Rpc(_MODELS, "ListModels", "models.list",
        _p.ListModelsRequest, _p.ListModelsResponse, _m.list_models),
    Rpc(_MODELS, "GetModel", "models.get", _p.GetModelRequest, _p.Model, _m.get_model),
    Rpc(_MODELS, "CreateTunedModel", "tuned_models.create",
        _p.CreateTunedModelRequest, _p.Operation, _m.create_tuned_model),
    Rpc(_MODELS, "ListTunedModels", "tuned_models.list",
        _p.ListTunedModelsRequest, _p.ListTunedModelsResponse, _m.list_tuned_models),
    Rpc(_MODELS, "GetTunedModel", "tuned_models.get",
        _p.GetTunedModelRequest, _p.TunedModel, _m.get_tuned_model),
    Rpc(_MODELS, "UpdateTunedModel", "tuned_models.patch",
        _p.UpdateTunedModelRequest, _p.TunedModel, _m.update_tuned_model),
    Rpc(_MODELS, "DeleteTunedModel", "tuned_models.delete",
        _p.DeleteTunedModelRequest, _p.Empty, _m.delete_tuned_model),
    Rpc("", "CancelTunedModel", "tuned_models.cancel",
        _p.CancelOperationRequest, _p.Empty, _m.cancel_tuned_model),

    Rpc(_PERMISSIONS, "CreatePermission", "permissions.create",
        _p.CreatePermissionRequest, _p.Permission, _m.create_permission),
    Rpc(_PERMISSIONS, "ListPermissions", "permissions.list",
        _p.ListPermissionsRequest, _p.ListPermissionsResponse, _m.list_permissions),
    Rpc(_PERMISSIONS, "GetPermission", "permissions.get",
        _p.GetPermissionRequest, _p.Permission, _m.get_permission),
    Rpc(_PERMISSIONS, "UpdatePermission", "permissions.patch",
        _p.UpdatePermissionRequest, _p.Permission, _m.update_permission),
    Rpc(_PERMISSIONS, "DeletePermission", "permissions.delete",
        _p.DeletePermissionRequest, _p.Empty, _m.delete_permission),
    Rpc(_PERMISSIONS, "TransferOwnership", "tuned_models.transfer_ownership",
        _p.TransferOwnershipRequest, _p.TransferOwnershipResponse, _m.transfer_ownership),

    Rpc(_FILES, "ListFiles", "files.list",
        _p.ListFilesRequest, _p.ListFilesResponse, _m.list_files),
    Rpc(_FILES, "GetFile", "files.get", _p.GetFileRequest, _p.File, _m.get_file),
    Rpc(_FILES, "DeleteFile", "files.delete", _p.DeleteFileRequest, _p.Empty, _m.delete_file),

    Rpc(_OPERATIONS, "ListOperations", "operations.list",
        _p.ListOperationsRequest, _p.ListOperationsResponse, _m.list_operations),
    Rpc(_OPERATIONS, "GetOperation", "operations.get",
        _p.GetOperationRequest, _p.Operation, _m.get_operation),
    Rpc(_OPERATIONS, "DeleteOperation", "operations.delete",
        _p.DeleteOperationRequest, _p.Empty, _m.delete_operation),
    Rpc(_OPERATIONS, "CancelOperation", "operations.cancel",
        _p.CancelOperationRequest, _p.Empty, _m.cancel_operation),
    Rpc(_OPERATIONS, "WaitOperation", "operations.wait",
        _p.WaitOperationRequest, _p.Operation, _m.wait_operation, takes_long=True,
        waits=True),

    Rpc(_GENERATION, "GenerateContent", "models.generate", _p.GenerateContentRequest,
        _p.GenerateContentResponse, _m.generate_content, takes_long=True),
    Rpc(_GENERATION, "StreamGenerateContent", "models.generate", _p.GenerateContentRequest,
        _p.GenerateContentResponse, _m.stream_generate_content, takes_long=True, streams=True),
    Rpc(_GENERATION, "CountTokens", "models.count_tokens",
        _p.CountTokensRequest, _p.CountTokensResponse, _m.count_tokens),
)}
# fmt: on


def check_rights() -> None:
    """Raises KeyError when a method names a verb that nobody has said the right for."""
    for rpc in RPCS.values():
        access.RIGHTS[rpc.verb]
