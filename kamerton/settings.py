"""Every knob of a server, read once; the defaults make `kamerton serve` work alone."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from kamerton.errors import InvalidArgument

TRAINERS = ("lean", "trl")


@dataclass(frozen=True, slots=True)
class Settings:
    """Each field is also the environment variable KAMERTON_<FIELD IN UPPER CASE>."""

    data: Path = Path(".kamerton")
    """Where everything that must last is kept."""
    host: str = "127.0.0.1"
    port: int = 8080
    open: bool = False
    """No credentials needed; only for loopback addresses."""
    owner: str = "owner@localhost"
    """Owner of the first key, and of everything when `open`."""
    grpc: bool = False
    """Serve gRPC as well, with TLS."""
    grpc_port: int = 8443
    public_url: str = ""
    """Address under which clients reach the server; empty means the one they used."""
    trusted_proxies: str = ""
    """Comma-separated addresses whose X-Forwarded-Proto and -Host are believed."""
    groups: str = ""
    """Comma-separated group=member member ..., all of them e-mail addresses."""
    oidc_issuer: str = ""
    """Whose bearer tokens are accepted besides our own; empty means nobody's."""
    oidc_audience: str = ""
    """What those tokens must have been made for."""
    oidc_leeway_seconds: float = 60.0
    """How far the issuer's clock may be from ours."""
    oidc_scopes: str = "infer,tuning"
    """What callers with such a token may do."""
    oidc_admins: str = ""
    """Comma-separated e-mail addresses of those who also have the scope admin."""
    database_url: str = ""
    """Any SQLAlchemy address; empty means SQLite in `data`."""
    aliases: str = "gemini-*=kamerton-nano-001,gemini-1.5-flash-001-tuning=kamerton-nano-001"
    """Comma-separated alias=base model; `*` matches any run of characters. Those without one are
    listed among the base models."""
    base_models: str = ""
    """Comma-separated name=folder or name=hub id of more base models."""
    max_pending_runs: int = 100
    """Runs that may wait or train at once, over all owners."""
    max_pending_answers: int = 256
    """Prompts that may wait or generate at once."""
    max_file_bytes: int = 2 * 1024**3
    """Of one uploaded file."""
    max_owner_file_bytes: int = 20 * 1024**3
    """Of all files of one owner, those on their way included."""
    file_hours: float = 48.0
    """How long an uploaded file is kept."""
    upload_hours: float = 24.0
    """How long an upload may be on its way."""
    price_per_million_tokens: float = 0.0
    """What training costs, in any currency, by the tokens of prompts and answers over all epochs;
    0 means that nothing is said about costs."""
    card_share: float = 0.25
    """Of a run's time, that its report card may take after it; 0 makes no report cards."""
    trainer: str = "lean"
    """What takes the training steps: lean, or trl, the yardstick, which must be installed."""
    runs_together: int = 16
    """Runs of one base model that are trained at the same time; 1 for one after another."""
    lease_seconds: float = 10.0
    """How long a worker may be silent before another takes its run."""
    step_seconds: float = 600.0
    """How long one training step may take before the trainer counts as hung and is ended."""
    max_attempts: int = 3
    """How often a run may die without progress before it is FAILED."""
    device: str = "auto"
    """auto, cpu or cuda."""

    def to_json(self) -> bytes:
        return msgspec.json.encode(self, enc_hook=str)

    @classmethod
    def from_json(cls, line: bytes) -> Settings:
        return msgspec.json.decode(line, type=cls, dec_hook=lambda kind, text: kind(text))

    def database_address(self) -> str:
        return self.database_url or f"sqlite:///{self.data / 'kamerton.db'}"

    def authority_file(self) -> Path:
        """The certificate that gRPC clients must trust, once a server has made it."""
        return self.data / "tls" / "ca.pem"


def load(**overrides: Any) -> Settings:
    """Overrides (None means not given) before environment before defaults."""
    chosen: dict[str, Any] = {}
    types = get_type_hints(Settings)
    for field in fields(Settings):
        variable = f"KAMERTON_{field.name.upper()}"
        if overrides.get(field.name) is not None:
            chosen[field.name] = overrides[field.name]
        elif variable in os.environ:
            chosen[field.name] = _parse(variable, os.environ[variable], types[field.name])
    made = Settings(**chosen)
    if not 0 <= made.price_per_million_tokens < math.inf:
        raise InvalidArgument(
            f"KAMERTON_PRICE_PER_MILLION_TOKENS={made.price_per_million_tokens} is not a price; "
            "give a number from 0 on"
        )
    if made.trainer not in TRAINERS:
        raise InvalidArgument(
            f"KAMERTON_TRAINER={made.trainer!r} is no trainer; there are {', '.join(TRAINERS)}"
        )
    if made.runs_together < 1:
        raise InvalidArgument(
            f"KAMERTON_RUNS_TOGETHER={made.runs_together} would train nothing; give 1 to train one "
            "run after another, or more"
        )
    return made


def _parse(variable: str, text: str, kind: type) -> Any:
    if kind is bool:
        return text.lower() in ("1", "true", "yes")
    try:
        return kind(text)
    except ValueError as error:
        raise InvalidArgument(f"{variable}={text!r} is not a valid {kind.__name__}") from error
