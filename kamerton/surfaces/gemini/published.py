"""The published message classes of the Gemini API, which are its schema here."""

from __future__ import annotations

import warnings
from typing import Any

from google.longrunning import operations_pb2
from google.protobuf import empty_pb2, json_format
from google.rpc import error_details_pb2

from kamerton.surfaces.body import Json

with warnings.catch_warnings():
    # Their newest clients announce which version of Python they will stop working with.
    warnings.simplefilter("ignore", FutureWarning)
    from google.ai import generativelanguage_v1beta as _types

ListModelsRequest = _types.ListModelsRequest.pb()
GetModelRequest = _types.GetModelRequest.pb()
CreateTunedModelRequest = _types.CreateTunedModelRequest.pb()
GetTunedModelRequest = _types.GetTunedModelRequest.pb()
ListTunedModelsRequest = _types.ListTunedModelsRequest.pb()
UpdateTunedModelRequest = _types.UpdateTunedModelRequest.pb()
DeleteTunedModelRequest = _types.DeleteTunedModelRequest.pb()
CreatePermissionRequest = _types.CreatePermissionRequest.pb()
GetPermissionRequest = _types.GetPermissionRequest.pb()
ListPermissionsRequest = _types.ListPermissionsRequest.pb()
UpdatePermissionRequest = _types.UpdatePermissionRequest.pb()
DeletePermissionRequest = _types.DeletePermissionRequest.pb()
TransferOwnershipRequest = _types.TransferOwnershipRequest.pb()
ListModelsResponse = _types.ListModelsResponse.pb()
ListTunedModelsResponse = _types.ListTunedModelsResponse.pb()
ListPermissionsResponse = _types.ListPermissionsResponse.pb()
TransferOwnershipResponse = _types.TransferOwnershipResponse.pb()
CreateFileRequest = _types.CreateFileRequest.pb()
GetFileRequest = _types.GetFileRequest.pb()
ListFilesRequest = _types.ListFilesRequest.pb()
ListFilesResponse = _types.ListFilesResponse.pb()
DeleteFileRequest = _types.DeleteFileRequest.pb()
File = _types.File.pb()
GenerateContentResponse = _types.GenerateContentResponse.pb()
CountTokensResponse = _types.CountTokensResponse.pb()
Model = _types.Model.pb()
TunedModel = _types.TunedModel.pb()
Permission = _types.Permission.pb()
GenerateContentRequest = _types.GenerateContentRequest.pb()
CountTokensRequest = _types.CountTokensRequest.pb()
Empty = empty_pb2.Empty
Operation = operations_pb2.Operation
ListOperationsResponse = operations_pb2.ListOperationsResponse
GetOperationRequest = operations_pb2.GetOperationRequest
ListOperationsRequest = operations_pb2.ListOperationsRequest
CancelOperationRequest = operations_pb2.CancelOperationRequest
DeleteOperationRequest = operations_pb2.DeleteOperationRequest
WaitOperationRequest = operations_pb2.WaitOperationRequest


ErrorInfo = error_details_pb2.ErrorInfo
"""In the error of an operation; known to the parser once it is imported."""


def message(made: Json, kind: Any) -> Any:
    """An answer as a message of class `kind`, without our additions."""
    return json_format.ParseDict(made, kind(), ignore_unknown_fields=True)
