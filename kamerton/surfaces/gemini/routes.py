"""The methods of the Gemini API by HTTP method and path: a line per route."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kamerton.errors import NotFound, Unimplemented
from kamerton.surfaces.errors import MethodNotAllowed
from kamerton.surfaces.gemini.rpcs import RPCS, Rpc

VERBS = frozenset(
    {
        "generateContent",
        "streamGenerateContent",
        "countTokens",
        "cancel",
        "transferOwnership",
        "wait",
        "batchGenerateContent",
        "embedContent",
        "batchEmbedContents",
        "predict",
    }
)
"""What may follow the last colon of a path; any other colon belongs to a name."""

_MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the table, written as in Google's own annotations: `{name=models/*}` puts what
    it matches into the request's field `name`, and `body` says which field the body is ("*" for
    the request itself)."""

    http_method: str
    template: str
    rpc: Rpc
    body: str = ""
    strict: bool = False
    """Unknown names are refused."""
    limit: int = 20 * _MEBIBYTE


_TUNED = "{name=tunedModels/*}"
_OPERATION = "{name=tunedModels/*/operations/*}"
_SHARED = "{parent=tunedModels/*}/permissions"
_FILE = "{name=files/*}"
_PERMISSION = "{name=tunedModels/*/permissions/*}"

# fmt: off
ROUTES = (
    Route("GET", "models", RPCS["ListModels"]),
    Route("GET", "{name=models/*}", RPCS["GetModel"]),

    Route("POST", "tunedModels", RPCS["CreateTunedModel"], body="tuned_model", strict=True,
          limit=64 * _MEBIBYTE),
    Route("GET", "tunedModels", RPCS["ListTunedModels"]),
    Route("GET", _TUNED, RPCS["GetTunedModel"]),
    Route("PATCH", "{tuned_model.name=tunedModels/*}", RPCS["UpdateTunedModel"],
          body="tuned_model", strict=True),
    Route("DELETE", _TUNED, RPCS["DeleteTunedModel"]),
    Route("POST", _TUNED + ":cancel", RPCS["CancelTunedModel"]),
    Route("POST", _TUNED + ":transferOwnership", RPCS["TransferOwnership"], body="*", strict=True),

    Route("GET", "files", RPCS["ListFiles"]),
    Route("GET", _FILE, RPCS["GetFile"]),
    Route("DELETE", _FILE, RPCS["DeleteFile"]),

    Route("GET", "operations", RPCS["ListOperations"]),
    Route("GET", "{name=tunedModels/*}/operations", RPCS["ListOperations"]),
    Route("GET", _OPERATION, RPCS["GetOperation"]),
    Route("DELETE", _OPERATION, RPCS["DeleteOperation"]),
    Route("POST", _OPERATION + ":cancel", RPCS["CancelOperation"]),
    Route("POST", _OPERATION + ":wait", RPCS["WaitOperation"], body="*"),

    Route("POST", _SHARED, RPCS["CreatePermission"], body="permission", strict=True),
    Route("GET", _SHARED, RPCS["ListPermissions"]),
    Route("GET", _PERMISSION, RPCS["GetPermission"]),
    Route("PATCH", "{permission.name=tunedModels/*/permissions/*}", RPCS["UpdatePermission"],
          body="permission", strict=True),
    Route("DELETE", _PERMISSION, RPCS["DeletePermission"]),

    *(
        Route("POST", f"{{model={kind}/*}}:{rpc[0].lower()}{rpc[1:]}", RPCS[rpc], body="*")
        for kind in ("models", "tunedModels")
        for rpc in ("GenerateContent", "StreamGenerateContent", "CountTokens")
    ),
)
# fmt: on


@dataclass(frozen=True, slots=True)
class _Matcher:
    route: Route
    pattern: re.Pattern[str]
    field: str
    verb: str


def _matcher(route: Route) -> _Matcher:
    template, _, verb = route.template.partition(":")
    found = re.search(r"\{([a-z_.]+)=([^}]+)\}", template)
    field = found[1] if found else ""
    pattern = re.sub(r"\{[a-z_.]+=([^}]+)\}", r"(\1)", template).replace("*", "[^/]+")
    return _Matcher(route, re.compile(pattern), field, verb)


_MATCHERS = tuple(map(_matcher, ROUTES))


def _split_verb(path: str) -> tuple[str, str]:
    start, colon, end = path.rpartition(":")
    return (start, end) if colon and end in VERBS else (path, "")


def find(http_method: str, path: str) -> tuple[Route, dict[str, str]]:
    """The line for a request, and the field that its path fills."""
    name, verb = _split_verb(path)
    known = False
    for matcher in _MATCHERS:
        if matcher.verb == verb and (found := matcher.pattern.fullmatch(name)):
            if matcher.route.http_method == http_method:
                return matcher.route, {matcher.field: found[1]} if matcher.field else {}
            known = True
    if known:
        raise MethodNotAllowed(f"{http_method[:20]} is not supported on this path.")
    if verb:
        raise Unimplemented(f"{verb} is not supported by this server.")
    raise NotFound("There is nothing at this path; see the API reference for the paths there are.")
