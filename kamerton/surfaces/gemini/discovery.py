"""The discovery document: what googleapiclient reads before it uploads a file."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute

from kamerton.errors import InvalidArgument
from kamerton.service.app import App
from kamerton.surfaces import address
from kamerton.surfaces.body import Json
from kamerton.surfaces.documents import JSON, document
from kamerton.surfaces.gemini.rest import VERSIONS


def routes(app: App) -> list[StarletteRoute]:
    """It tells nothing that is not public, so it needs no credentials."""

    async def discovery(request: Request) -> Response:
        version = request.query_params.get("version", VERSIONS[0])
        if version not in VERSIONS:
            raise InvalidArgument.of("version", f"must be one of {', '.join(VERSIONS)}")
        own = address.own(request, app.settings)
        made = description(own, version, app.settings.max_file_bytes)
        return Response(document(made, pretty=True), media_type=JSON)

    return [StarletteRoute("/$discovery/rest", discovery, methods=["GET"])]


def description(own: str, version: str, max_file_bytes: int) -> Json:
    """For the server at `own`; only what uploads need."""
    return {
        "kind": "discovery#restDescription",
        "discoveryVersion": "v1",
        "id": f"generativelanguage:{version}",
        "name": "generativelanguage",
        "version": version,
        "title": "Gemini API of Kamerton",
        "protocol": "rest",
        "rootUrl": f"{own}/",
        "servicePath": "",
        "baseUrl": f"{own}/",
        "batchPath": "batch",
        "parameters": {
            name: {"type": "string", "location": "query"}
            for name in ("alt", "fields", "key", "prettyPrint", "quotaUser", "uploadType")
        },
        "schemas": _SCHEMAS,
        "resources": {"media": {"methods": {"upload": _upload(version, max_file_bytes)}}},
    }


def _upload(version: str, max_file_bytes: int) -> Json:
    path = f"{version}/files"
    return {
        "id": "generativelanguage.media.upload",
        "path": path,
        "flatPath": path,
        "httpMethod": "POST",
        "parameters": {},
        "parameterOrder": [],
        "request": {"$ref": "CreateFileRequest"},
        "response": {"$ref": "CreateFileResponse"},
        "supportsMediaUpload": True,
        "mediaUpload": {
            "accept": ["*/*"],
            "maxSize": str(max_file_bytes),
            "protocols": {
                "simple": {"multipart": True, "path": f"/upload/{path}"},
                "resumable": {"multipart": True, "path": f"/resumable/upload/{path}"},
            },
        },
    }


# --- schemas -------------------------------------------------------------------------------------

_TEXT: Json = {"type": "string"}
_TIME: Json = {"type": "string", "format": "google-datetime"}
_FILE: Json = {
    "name": _TEXT,
    "displayName": _TEXT,
    "mimeType": _TEXT,
    "sizeBytes": {"type": "string", "format": "int64"},
    "createTime": _TIME,
    "updateTime": _TIME,
    "expirationTime": _TIME,
    "sha256Hash": {"type": "string", "format": "byte"},
    "uri": _TEXT,
    "state": {"type": "string", "enum": ["STATE_UNSPECIFIED", "PROCESSING", "ACTIVE", "FAILED"]},
    "source": _TEXT,
}
_SCHEMAS: Json = {
    name: {"id": name, "type": "object", "properties": properties}
    for name, properties in {
        "File": _FILE,
        "CreateFileRequest": {"file": {"$ref": "File"}},
        "CreateFileResponse": {"file": {"$ref": "File"}},
    }.items()
}
