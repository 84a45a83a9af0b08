"""An OpenID Connect issuer of a few lines: it publishes keys on a free port and signs tokens."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

Json = dict[str, Any]
AUDIENCE = "kamerton"


@cache
def private_key(algorithm: str, name: str) -> Any:
    """The same key for the same name: RSA keys take a while to make."""
    if algorithm.startswith("ES"):
        return ec.generate_private_key(ec.SECP256R1())
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, 1024 if name == "short" else 2048)


def public_jwk(algorithm: str, name: str) -> Json:
    kinds: dict[str, Any] = {"ES": ECAlgorithm, "Ed": OKPAlgorithm}
    to_jwk = kinds.get(algorithm[:2], RSAAlgorithm).to_jwk
    key = to_jwk(private_key(algorithm, name).public_key(), as_dict=True)
    return {**key, "kid": name, "alg": algorithm, "use": "sig"}


class FakeIssuer:
    """What it publishes can be changed at any time."""

    def __init__(self) -> None:
        self.keys = [public_jwk("RS256", "first")]
        self.discovery: Json = {}
        """What to say there instead of the truth."""
        self.status = 200
        self.before_answering: Callable[[], object] = lambda: None
        self.asked: list[str] = []
        """The path of every request."""
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked.append(self.path)
                issuer.before_answering()
                content = json.dumps(issuer.document(self.path)).encode()
                self.send_response(issuer.status)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def fetches(self) -> int:
        """How often somebody came for the keys."""
        return self.asked.count("/keys")

    def document(self, path: str) -> Json:
        if path == "/.well-known/openid-configuration":
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys", **self.discovery}
        return {"keys": self.keys}

    def claims(self, **changes: Any) -> Json:
        """Of a good token; None leaves one out."""
        good = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "1",
            "exp": time.time() + 600,
            "iat": time.time(),
            "email": "Ann@x.org",
            "email_verified": True,
        }
        return {name: value for name, value in {**good, **changes}.items() if value is not None}

    def token(self, algorithm: str = "RS256", key: str = "first", **changes: Any) -> str:
        return jwt.encode(
            self.claims(**changes), private_key(algorithm, key), algorithm, headers={"kid": key}
        )

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
