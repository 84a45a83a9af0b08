"""`kamerton env`: the environment that points Gemini clients at a server."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from kamerton.errors import InvalidArgument
from kamerton.options import LOCAL, ApiKey, AsJson, Data, Server, chosen_settings, print_json

if TYPE_CHECKING:
    from kamerton.settings import Settings


def env(
    server: Server = LOCAL, key: ApiKey = "", data: Data = None, as_json: AsJson = False
) -> None:
    """Print what points Gemini clients at a server: eval "$(kamerton env)"."""
    address = server.rstrip("/")
    if not (address.isprintable() and address.startswith("http") and urlsplit(address).hostname):
        raise InvalidArgument(f"{server!r} is not an address such as {LOCAL}")
    settings = chosen_settings(data=data)
    variables = _variables(address, key, settings)
    if as_json:
        print_json(variables)
        return
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")
    for line in _remarks(address, key, settings):
        print(f"# {line}".rstrip())


def _variables(address: str, key: str, settings: Settings) -> dict[str, str]:
    found = {"KAMERTON_ENDPOINT": address, "GOOGLE_GEMINI_BASE_URL": address}
    if key:
        found |= dict.fromkeys(("KAMERTON_API_KEY", "GOOGLE_API_KEY"), key)
    authority = settings.authority_file().absolute()
    if authority.exists():
        found["GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"] = str(authority)
    return found


def _remarks(address: str, key: str, settings: Settings) -> Iterator[str]:
    """What no variable can do."""
    if not key:
        yield "No key is known here: pass --key, or set KAMERTON_API_KEY. To make one:"
        yield "  kamerton keys create --owner you@example.com --scope tuning"
    yield "google-generativeai is told the address in the script, for REST:"
    yield f'  genai.configure(transport="rest", client_options={{"api_endpoint": "{address}"}})'
    if settings.authority_file().exists():
        host = urlsplit(address).hostname or ""
        endpoint = f"{f'[{host}]' if ':' in host else host}:{settings.grpc_port}"
        yield "or for gRPC, with the port that `kamerton serve --grpc` has printed:"
        yield f'  genai.configure(client_options={{"api_endpoint": "{endpoint}"}})'
    else:
        yield "or for gRPC, once `kamerton serve --grpc` has made a certificate in --data;"
    yield "and for upload_file, in both cases:"
    yield f'  google.generativeai.client.GENAI_API_DISCOVERY_URL = "{address}/$discovery/rest"'
