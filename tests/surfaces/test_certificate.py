"""The certificate of a server: who it is for, who trusts it, and the files behind it."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from kamerton.settings import Settings
from kamerton.surfaces import certificate


def shake_hands(made: certificate.Certificate, authority: Path, host: str, folder: Path) -> None:
    """As the strictest clients do it. Raises ssl.SSLError."""
    (folder / "server.pem").write_bytes(made.key + made.chain)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.pem")
    client = ssl.create_default_context(cafile=str(authority))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(5)
        theirs.settimeout(5)

        def accept() -> None:
            try:
                server.wrap_socket(theirs, server_side=True).close()
            except ssl.SSLError:
                pass  # the client tells why

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            client.wrap_socket(ours, server_hostname=host).close()
        finally:
            accepting.join()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_clients_that_have_the_authority_trust_it(tmp_path: Path, host: str) -> None:
    settings = Settings(data=tmp_path)
    shake_hands(certificate.issue(settings), settings.authority_file(), host, tmp_path)


def test_nobody_trusts_it_for_another_name(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    made = certificate.issue(settings)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(made, settings.authority_file(), "example.com", tmp_path)


def test_nobody_trusts_it_without_the_authority(tmp_path: Path) -> None:
    made = certificate.issue(Settings(data=tmp_path))
    (tmp_path / "other").mkdir()
    other = Settings(data=tmp_path / "other")
    certificate.issue(other)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(made, other.authority_file(), "localhost", tmp_path)


@pytest.mark.parametrize(
    ("host", "public_url", "more"),
    [
        ("127.0.0.1", "", []),
        ("0.0.0.0", "", []),
        ("::", "", []),
        ("192.0.2.7", "", ["192.0.2.7"]),
        ("tuner.local", "", ["tuner.local"]),
        ("0.0.0.0", "https://tuner.example.com:8443/", ["tuner.example.com"]),
        ("0.0.0.0", "https://[2001:db8::7]", ["2001:db8::7"]),
        ("0.0.0.0", "https://бюро.example", []),
    ],
)
def test_names(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    public_url: str,
    more: list[str],
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "box")
    settings = Settings(data=tmp_path, host=host, public_url=public_url)
    made = x509.load_pem_x509_certificates(certificate.issue(settings).chain)[0]
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    found = [str(name.value) for name in names]
    always = ["localhost", "127.0.0.1", "::1", "box"]
    assert sorted(found) == sorted([*always, *more])


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_only_the_owner_can_read_the_key(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        certificate.issue(Settings(data=tmp_path))
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "tls").iterdir()}
    assert modes == {"ca.key": 0o600, "ca.pem": 0o644}


def test_the_authority_stays_and_the_certificate_is_new(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    first = certificate.issue(settings)
    authority = settings.authority_file().read_bytes()
    second = certificate.issue(settings)
    assert settings.authority_file().read_bytes() == authority
    assert second.key != first.key
    shake_hands(second, settings.authority_file(), "localhost", tmp_path)


@pytest.mark.parametrize("name", ["ca.key", "ca.pem"])
@pytest.mark.parametrize("damage", ["missing", "cut", "another's"])
def test_a_damaged_authority_is_made_anew(tmp_path: Path, name: str, damage: str) -> None:
    settings = Settings(data=tmp_path)
    certificate.issue(settings)
    path = settings.authority_file().with_name(name)
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:100])
    else:
        (tmp_path / "other").mkdir()
        other = Settings(data=tmp_path / "other")
        certificate.issue(other)
        path.write_bytes(other.authority_file().with_name(name).read_bytes())
    made = certificate.issue(settings)
    shake_hands(made, settings.authority_file(), "localhost", tmp_path)


def test_an_authority_near_its_end_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(data=tmp_path)
    monkeypatch.setattr(certificate, "LIFETIME", timedelta(days=364))
    certificate.issue(settings)
    short = settings.authority_file().read_bytes()
    monkeypatch.setattr(certificate, "LIFETIME", timedelta(days=800))
    made = certificate.issue(settings)
    assert settings.authority_file().read_bytes() != short
    shake_hands(made, settings.authority_file(), "localhost", tmp_path)
