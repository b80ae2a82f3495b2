"""A certificate as WebRTC wants it (RFC 8827 section 6.5): ECDSA on P-256. FFmpeg with GnuTLS and
GStreamer 1.22 make RSA ones unless they are given another."""

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def pem():
    """The private key and its self-signed certificate, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "encoder")])
    now = datetime.datetime.utcnow()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    return (
        key.private_bytes(serialization.Encoding.PEM, form, plain).decode(),
        certificate.public_bytes(serialization.Encoding.PEM).decode(),
    )


def fingerprint(text):
    """What a session description says of a certificate."""
    digest = x509.load_pem_x509_certificate(text.encode()).fingerprint(hashes.SHA256())
    return "sha-256 " + ":".join(f"{byte:02X}" for byte in digest)
