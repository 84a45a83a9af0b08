"""The TLS certificate of this server, signed by an authority of its own that clients can trust."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kamerton.folders import sync
from kamerton.settings import Settings

LIFETIME = timedelta(days=3650)
RENEWED_BEFORE = timedelta(days=365)
"""An authority that ends sooner than this is replaced at the next start."""
_CLOCK_SKEW = timedelta(days=1)
_ALWAYS = ("localhost", "127.0.0.1", "::1")
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.\-]{0,251}[A-Za-z0-9])?")

Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a TLS server shows its clients; both in PEM."""

    key: bytes
    chain: bytes


def issue(settings: Settings) -> Certificate:
    """A new certificate for the names of this server, which is kept in memory only: a server makes
    one at each start. Its authority is made once, and kept in the data folder."""
    authority_key, authority = _authority(settings.authority_file())
    key = ec.generate_private_key(ec.SECP256R1())
    names = [_general_name(host) for host in hosts(settings)]
    certificate = (
        _builder("Kamerton", key, authority.not_valid_after_utc)
        .issuer_name(authority.subject)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
            critical=False,
        )
        .sign(authority_key, hashes.SHA256())
    )
    return Certificate(_pem(key), _pem(certificate) + _pem(authority))


def hosts(settings: Settings) -> list[str]:
    """Names and addresses under which clients may reach this server."""
    public = urlsplit(settings.public_url).hostname or ""
    found = [*_ALWAYS, settings.host, socket.gethostname(), public]
    return list(dict.fromkeys(host for host in found if _is_name(host)))


def _is_name(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_unspecified  # 0.0.0.0 and :: are nobody's name
    except ValueError:
        return bool(_HOST_NAME.fullmatch(host))


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


# --- the authority -------------------------------------------------------------------------------


def _authority(public: Path) -> tuple[Key, x509.Certificate]:
    """The one in the data folder, or a new one where that is missing, damaged or near its end."""
    private = public.with_name("ca.key")
    known = _read(private, public)
    if known and known[1].not_valid_after_utc - datetime.now(UTC) > RENEWED_BEFORE:
        return known
    key = ec.generate_private_key(ec.SECP256R1())
    # The name tells this authority from others in a client's list.
    name = f"Kamerton CA {uuid.uuid4().hex[:8]} on {socket.gethostname()}"[:64]
    certificate = (
        _builder(name, key, datetime.now(UTC) + LIFETIME)
        .issuer_name(_subject(name))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    public.parent.mkdir(exist_ok=True)
    _publish(private, _pem(key), 0o600)
    _publish(public, _pem(certificate), 0o644)
    return key, certificate


def _read(private: Path, public: Path) -> tuple[Key, x509.Certificate] | None:
    """The authority, when both files are there, whole, and belong together."""
    try:
        key = serialization.load_pem_private_key(private.read_bytes(), password=None)
        certificate = x509.load_pem_x509_certificate(public.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    if isinstance(key, Key) and key.public_key() == certificate.public_key():
        return key, certificate
    return None


def _publish(path: Path, content: bytes, mode: int) -> None:
    """Whole or as it was before, and never readable by others than `mode` says."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            os.fchmod(file.fileno(), mode)  # whatever the umask
            file.write(content)
        sync(aside)
        aside.replace(path)
        sync(path.parent)
    finally:
        aside.unlink(missing_ok=True)


# --- X.509 ---------------------------------------------------------------------------------------


def _builder(name: str, key: Key, ends: datetime) -> x509.CertificateBuilder:
    """A certificate as far as authority and server have it in common."""
    return (
        x509.CertificateBuilder()
        .subject_name(_subject(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - _CLOCK_SKEW)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _key_usage(**uses: bool) -> x509.KeyUsage:
    none = dict.fromkeys(
        (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    return x509.KeyUsage(**(none | uses))


def _pem(made: Key | x509.Certificate) -> bytes:
    if isinstance(made, x509.Certificate):
        return made.public_bytes(serialization.Encoding.PEM)
    return made.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
