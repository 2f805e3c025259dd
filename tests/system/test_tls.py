from __future__ import annotations

import datetime
import ssl
import sys

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from app.domain.errors import ErrorCode, SetupProblem
from app.domain.ids import StudyId
from app.system import tls

STUDY = StudyId("0123456789abcdef0123456789abcdef")
NOW = datetime.datetime.now(tz=datetime.UTC).timestamp()


@pytest.fixture
def authority():
    return tls.create_authority(STUDY, now=NOW)


@pytest.fixture
def certificate(authority, tmp_path):
    return tls.issue_server_certificate(
        authority, hosts=["coordinator.example", "127.0.0.1"], now=NOW, folder=tmp_path / "tls"
    )


def shake_hands(
    server: ssl.SSLContext, client: ssl.SSLContext, host: str
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Do a TLS handshake in memory."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(down, up, server_hostname=host)
    far = server.wrap_bio(up, down, server_side=True)
    done: set[ssl.SSLObject] = set()
    for _ in range(10):
        for end in (near, far):
            try:
                end.do_handshake()
                done.add(end)
            except ssl.SSLWantReadError:
                continue
    assert done == {near, far}
    return near, far


def test_a_site_trusts_its_study_and_sees_the_leaf_that_the_coordinator_has(authority, certificate):
    server, client = tls.server_context(certificate), tls.client_context(authority.certificate_pem)
    for host in ("coordinator.example", "127.0.0.1"):
        near, _ = shake_hands(server, client, host)
        assert near.version() == "TLSv1.3"
        assert tls.leaf_sha256(near) == certificate.leaf_sha256
    assert certificate == tls.load_server_certificate(certificate.key.parent)


def test_anything_else_is_not_trusted(authority, certificate):
    server = tls.server_context(certificate)
    other = tls.create_authority(STUDY, now=NOW)
    for client, host, code in (
        (tls.client_context(other.certificate_pem), "127.0.0.1", {18, 19, 20, 21}),
        (ssl.create_default_context(), "127.0.0.1", {18, 19, 20, 21}),
        (tls.client_context(authority.certificate_pem), "127.0.0.2", {64}),
        (tls.client_context(authority.certificate_pem), "other.example", {62}),
    ):
        with pytest.raises(ssl.SSLCertVerificationError) as caught:
            shake_hands(server, client, host)
        assert caught.value.verify_code in code


def test_nothing_older_than_tls_1_3_is_spoken(authority, certificate):
    server, client = tls.server_context(certificate), tls.client_context(authority.certificate_pem)
    for context in (server, client):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert client.check_hostname
    assert client.verify_mode is ssl.CERT_REQUIRED
    assert client.cert_store_stats()["x509"] == 1, "the system's authorities are not consulted"
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(cadata=authority.certificate_pem)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        shake_hands(server, old, "127.0.0.1")


def test_certificates_are_backdated_and_a_leaf_is_no_authority(authority, certificate):
    root = x509.load_pem_x509_certificate(authority.certificate_pem.encode())
    leaf = x509.load_pem_x509_certificate(certificate.certificate.read_bytes())
    leaf.verify_directly_issued_by(root)
    assert leaf.fingerprint(hashes.SHA256()) == certificate.leaf_sha256
    for one, is_authority in ((root, True), (leaf, False)):
        start = one.not_valid_before_utc.timestamp()
        assert NOW - 48 * 3600 - 1 <= start <= NOW - 48 * 3600
        constraints = one.extensions.get_extension_for_class(x509.BasicConstraints)
        usage = one.extensions.get_extension_for_class(x509.KeyUsage)
        assert (constraints.critical, constraints.value.ca) == (True, is_authority)
        assert usage.value.key_cert_sign is is_authority
    public = root.public_key()
    assert isinstance(public, Ed25519PublicKey)
    assert public.public_bytes_raw() == authority.key.public_key, "the key that signs invitations"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_the_key_is_readable_by_this_user_only(certificate):
    assert certificate.key.stat().st_mode & 0o077 == 0


def test_what_is_missing_or_damaged_is_explained(authority, certificate, tmp_path):
    with pytest.raises(SetupProblem, match="at least one host"):
        tls.issue_server_certificate(authority, hosts=[], now=NOW, folder=tmp_path)
    with pytest.raises(SetupProblem, match="missing or damaged"):
        tls.load_server_certificate(tmp_path / "nowhere")
    certificate.key.write_text("no key")
    with pytest.raises(SetupProblem, match="cannot be loaded"):
        tls.server_context(certificate)
    with pytest.raises(SetupProblem) as caught:
        tls.client_context("no certificate")
    assert caught.value.code is ErrorCode.INVITATION


def test_an_issuer_is_named_for_a_person(authority):
    root = x509.load_pem_x509_certificate(authority.certificate_pem.encode())
    der = root.public_bytes(serialization.Encoding.DER)
    assert tls.issuer_of(der) == f"CN=study {STUDY},O=FednnU-Net study"
    assert tls.issuer_of(b"rubbish") == "an unreadable certificate"
