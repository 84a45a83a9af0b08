"""Bearer tokens of an OpenID Connect issuer: checked with its public keys, turned into callers."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import jwt
import msgspec
import requests

from kamerton.errors import InvalidArgument, Unauthenticated, Unavailable
from kamerton.service import credentials, emails
from kamerton.settings import Settings
from kamerton.types import Caller, Scope

T = TypeVar("T")
ALGORITHMS = (
    *("RS256", "RS384", "RS512"),
    *("PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512"),
    "EdDSA",
)
"""Those that need a private key to sign. With HS256 our public keys could be used as the secret."""
FRESH_SECONDS = 300.0
"""How long keys are used without asking the issuer again."""
STALE_SECONDS = 24 * 3600.0
"""How long they are used while the issuer cannot be asked."""
PAUSE_SECONDS = 10.0
"""Between two fetches, however many tokens name a key that is not known."""
FETCH_SECONDS = 5.0
"""How long the issuer may be silent."""
MAX_WAITING = 8
"""Callers that wait for the issuer at once, so that one that hangs does not take all threads."""
MAX_BYTES = 1024 * 1024
"""Of one document of the issuer."""
_REASONS: Mapping[type[jwt.PyJWTError], str] = {
    jwt.ExpiredSignatureError: "it has expired",
    jwt.ImmatureSignatureError: "it is not valid yet, or this server's clock is slow",
    jwt.InvalidIssuerError: "it is from another issuer than the one this server trusts",
    jwt.InvalidAudienceError: "it was made for another audience than this server",
    jwt.InvalidAlgorithmError: f"it is not signed with one of {', '.join(ALGORITHMS)}",
    jwt.InvalidSignatureError: "its signature does not match",
    jwt.InvalidKeyError: "the key of its issuer is too short",
}
_FAILURES = (
    *(requests.RequestException, msgspec.DecodeError, jwt.PyJWTError),
    *(ValueError, TypeError),
)
"""Of getting the keys: an issuer that is away, or whose documents are not what they should be."""
_log = logging.getLogger(__name__)


class Issuer:
    """The one issuer that a server trusts, and what it lets those callers do."""

    def __init__(self, settings: Settings) -> None:
        """Asks nobody yet. Raises InvalidArgument for settings that cannot be right."""
        if not (settings.oidc_issuer and settings.oidc_audience):
            raise InvalidArgument(
                "KAMERTON_OIDC_ISSUER and KAMERTON_OIDC_AUDIENCE need each other: set both."
            )
        if not _is_safe(settings.oidc_issuer):
            raise InvalidArgument(
                f"KAMERTON_OIDC_ISSUER={settings.oidc_issuer!r} must be an https address, "
                "or http on this machine."
            )
        if not 0 <= settings.oidc_leeway_seconds <= 3600:
            raise InvalidArgument("KAMERTON_OIDC_LEEWAY_SECONDS must be from 0 to 3600.")
        self._settings = settings
        self._scopes = credentials.checked_scopes(
            "KAMERTON_OIDC_SCOPES", _words(settings.oidc_scopes)
        )
        self._admins = {
            emails.checked("KAMERTON_OIDC_ADMINS", admin) for admin in _words(settings.oidc_admins)
        }
        self._keys = KeySet(settings.oidc_issuer)

    def caller(self, token: str) -> Caller:
        """Who the token is for.

        Raises Unauthenticated with the reason when it is not good, and Unavailable when it
        takes a key that the issuer cannot be asked for now.
        """
        try:
            claims = self._claims(token)
        except jwt.MissingRequiredClaimError as error:
            raise _refused(f"it lacks the claim {error.claim}") from None
        except jwt.PyJWTError as error:
            raise _refused(_REASONS.get(type(error), "it is not a well-formed JWT")) from None
        owner = _owner(claims)
        admin: set[Scope] = {"admin"} if owner in self._admins else set()
        return Caller(owner, self._scopes | admin, _groups(claims))

    def _claims(self, token: str) -> dict[str, Any]:
        """The claims, once everything about the token is known to be right."""
        unverified = jwt.decode_complete(token, options={"verify_signature": False})
        algorithm = unverified["header"].get("alg")
        if algorithm not in ALGORITHMS:
            raise jwt.InvalidAlgorithmError
        if unverified["payload"].get("iss") != self._settings.oidc_issuer:
            raise jwt.InvalidIssuerError  # before anybody is asked for a key
        key = self._keys.find(unverified["header"].get("kid"), algorithm)
        if key is None:
            raise _refused("it is signed with a key that its issuer does not have")
        return jwt.decode(
            token,
            key,
            algorithms=ALGORITHMS,
            issuer=self._settings.oidc_issuer,
            audience=self._settings.oidc_audience,
            leeway=self._settings.oidc_leeway_seconds,
            options={"require": ["exp", "iss", "aud"], "enforce_minimum_key_length": True},
        )


class KeySet:
    """The public keys of an issuer, fetched when they are old or when one is missing."""

    def __init__(self, issuer: str) -> None:
        self._issuer = issuer
        self._keys: Mapping[tuple[str | None, str], jwt.PyJWK] = {}
        self._fetched = self._tried = -math.inf
        self._reached = False
        self._turn = threading.Lock()
        self._places = threading.BoundedSemaphore(MAX_WAITING)

    def find(self, id: str | None, algorithm: str) -> jwt.PyJWK | None:
        """None when the issuer has no such key. Raises Unavailable when it could not be asked."""
        key = self._kept(id, algorithm)
        if key is not None and time.monotonic() - self._fetched < FRESH_SECONDS:
            return key
        current = self._refresh(wait=key is None)
        key = self._kept(id, algorithm)
        if key is None and not current:
            raise Unavailable(
                "The issuer of bearer tokens cannot be asked for its keys. Try again in a moment."
            )
        return key

    def _kept(self, id: str | None, algorithm: str) -> jwt.PyJWK | None:
        usable = time.monotonic() - self._fetched < STALE_SECONDS
        return self._keys.get((id, algorithm)) if usable else None

    def _refresh(self, wait: bool) -> bool:
        """Whether the keys are now those that the issuer has, give or take PAUSE_SECONDS."""
        if not self._places.acquire(blocking=False):
            return False
        try:
            return self._refresh_in_turn(FETCH_SECONDS if wait else 0)
        finally:
            self._places.release()

    def _refresh_in_turn(self, seconds: float) -> bool:
        if not self._turn.acquire(timeout=seconds):
            return False
        try:
            if time.monotonic() - self._tried >= PAUSE_SECONDS:
                self._reached = self._fetch()
                self._tried = time.monotonic()
            return self._reached
        finally:
            self._turn.release()

    def _fetch(self) -> bool:
        try:
            self._keys = _keys_of(self._issuer)
        except _FAILURES as error:
            _log.warning("the keys of %s cannot be had: %s", self._issuer, error)
            return False
        self._fetched = time.monotonic()
        return True


class _Discovery(msgspec.Struct):
    issuer: str
    jwks_uri: str


class _KeyDocument(msgspec.Struct):
    keys: list[dict[str, Any]]


def _keys_of(issuer: str) -> Mapping[tuple[str | None, str], jwt.PyJWK]:
    """Its keys for signatures, by id and algorithm. Raises one of _FAILURES."""
    found = _document(f"{issuer.rstrip('/')}/.well-known/openid-configuration", _Discovery)
    if found.issuer != issuer:
        raise ValueError(f"it calls itself {found.issuer!r}; set KAMERTON_OIDC_ISSUER to that")
    keys = jwt.PyJWKSet(_document(found.jwks_uri, _KeyDocument).keys).keys
    return {(k.key_id, k.algorithm_name): k for k in keys if k.public_key_use in ("sig", None)}


def _document(address: str, kind: type[T]) -> T:
    """The JSON there. Redirects are not followed: they could lead to where it is not safe."""
    if not _is_safe(address):
        raise ValueError(f"{address!r} is neither https nor on this machine")
    content = b""
    with requests.get(address, timeout=FETCH_SECONDS, stream=True, allow_redirects=False) as answer:
        if answer.status_code != 200:
            raise ValueError(f"{address} answers {answer.status_code}")
        for piece in answer.iter_content(64 * 1024):
            content += piece
            if len(content) > MAX_BYTES:
                raise ValueError(f"{address} is longer than {MAX_BYTES} bytes")
    return msgspec.json.decode(content, type=kind)


def _is_safe(address: str) -> bool:
    """Whether nobody on the way can change what comes from there."""
    try:
        url = urlsplit(address)
        host, _ = url.hostname, url.port
    except ValueError:
        return False
    local = host in ("localhost", "127.0.0.1", "::1")
    printable = address.isprintable() and " " not in address
    return printable and bool(host) and (url.scheme == "https" or (url.scheme == "http" and local))


def _owner(claims: Mapping[str, Any]) -> str:
    if claims.get("email_verified") in (False, "false"):
        raise _refused("its e-mail address is not verified")
    email = claims.get("email")
    try:
        return emails.checked("email", email if isinstance(email, str) else "")
    except InvalidArgument:
        raise _refused("it has no claim email; ask the issuer for that scope") from None


def _groups(claims: Mapping[str, Any]) -> frozenset[str]:
    given = claims.get("groups")
    names = given if isinstance(given, list) else []
    return frozenset(name.strip().lower() for name in names if isinstance(name, str))


def _refused(reason: str) -> Unauthenticated:
    return Unauthenticated(f"The bearer token is not valid: {reason}.")


def _words(text: str) -> list[str]:
    return [word for word in map(str.strip, text.split(",")) if word]
