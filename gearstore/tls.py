"""Certificates and keys: from files to contexts of the ssl module, and what is wrong with them in words.

For the server and the commands alike; a library's user brings a context of his own.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from gearstore.errors import ConfigError

if TYPE_CHECKING:
    from gearstore.config import Config

UNKNOWN_CA = (18, 19, 20, 21)  # of X509_V_ERR_...: self-signed, alone or in a chain; issuer not found; no chain

# What OpenSSL calls the reasons of a failed handshake, and what they mean to an operator. Others are told as they are.
REASONS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it sent no certificate",
    "HTTP_REQUEST": "it speaks HTTP",
    "WRONG_VERSION_NUMBER": "it does not speak TLS",
    "UNSUPPORTED_PROTOCOL": "it speaks only TLS older than 1.2",
    "UNEXPECTED_EOF_WHILE_READING": "it ended the connection",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not know the CA of our certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it refuses our certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it refuses our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "our certificate has expired",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "our certificate is not made for this use",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it refuses (by an older protocol than TLS 1.3: perhaps it wants a certificate)",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants a certificate, and we have sent none",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it speaks no version of TLS that we speak",
    "SSLV3_ALERT_UNEXPECTED_MESSAGE": "it does not speak TLS there",
}


class Files(NamedTuple):
    """Where certificate, key (None: in the same file) and the CAs of the other side are; None: there is none."""

    cert: Path | None = None
    key: Path | None = None
    ca: Path | None = None


class Own(NamedTuple):
    """A server's context, and what stands in its certificate."""

    context: ssl.SSLContext
    names: list[str]
    expires: float  # seconds since 1970


def of_server(config: Config) -> Own | None:
    """Return what a server with this configuration needs to speak TLS, None if it doesn't; raise ConfigError if the
    files are not fit for it."""
    if not any(address.tls for address in config.listen):
        return None
    return server_context(Files(config.tls_cert, config.tls_key, config.tls_ca))


def server_context(files: Files) -> Own:
    """Return what a server needs to speak TLS; raise ConfigError with a sentence if the files are not fit for it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Connections last; without tickets each of them shows its certificate, and none is remembered beyond its end.
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0
    assert files.cert is not None
    load_own(context, files)
    certificate = try_out(context, files.cert)
    if files.ca is not None:
        load_authorities(context, files.ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return Own(context, names_of(certificate), ssl.cert_time_to_seconds(certificate["notAfter"]))


def client_context(files: Files) -> ssl.SSLContext:
    """Return what a client needs; without a CA it trusts those of the system. Raises ConfigError with a sentence."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if files.ca is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # these and no others
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        load_authorities(context, files.ca)
    if files.cert is not None:
        load_own(context, files)
    elif files.key is not None:
        raise ConfigError(f"tls_key: {files.key}: a key without its certificate; name that with tls_cert")
    return context


def load_own(context: ssl.SSLContext, files: Files) -> None:
    """Load certificate and key."""
    cert, key = files.cert, files.key or files.cert
    assert cert is not None and key is not None
    option = "tls_key" if files.key else "tls_cert"
    if b"-----BEGIN CERTIFICATE-----" not in read("tls_cert", cert):
        raise ConfigError(f"tls_cert: {cert}: there is no certificate in PEM in it")
    if b"PRIVATE KEY-----" not in read(option, key):
        raise ConfigError(f"{option}: {key}: there is no private key in PEM in it; name its file with tls_key")

    def locked() -> NoReturn:
        raise ConfigError(f"{option}: {key}: the key is locked; store it without a passphrase (openssl pkey -in FILE)")

    try:
        context.load_cert_chain(cert, key, locked)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(f"{option}: {key}: this is not the key of the certificate in {cert}") from None
        raise ConfigError(
            f"tls_cert: {cert}: this file or {key} is damaged{f' ({error.reason})' if error.reason else ''}"
        ) from None


def load_authorities(context: ssl.SSLContext, file: Path) -> None:
    """Load the CAs that the other side's certificates may be of."""
    if b"-----BEGIN" not in read("tls_ca", file):
        raise ConfigError(f"tls_ca: {file}: there is no certificate in PEM in it")
    try:
        context.load_verify_locations(file)
    except ssl.SSLError as error:
        raise ConfigError(f"tls_ca: {file}: it is damaged{f' ({error.reason})' if error.reason else ''}") from None
    authorities = context.get_ca_certs()
    if not authorities:
        raise ConfigError(f"tls_ca: {file}: there is no certificate of a CA in it")
    if all(ssl.cert_time_to_seconds(str(each["notAfter"])) < time.time() for each in authorities):
        raise ConfigError(f"tls_ca: {file}: the certificate of the CA has expired; make a new one")


def read(option: str, file: Path) -> bytes:
    """Return what is in a file; raise ConfigError if it can't be read. (OpenSSL doesn't say which one it misses.)"""
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{option}: {file}: {error.strerror}; this process has to be able to read it") from None


def try_out(context: ssl.SSLContext, file: Path) -> Mapping[str, Any]:
    """Return what stands in the server's certificate, after a handshake with ourselves: one who trusts just this
    certificate finds out whether it can be used, and the ssl module shows no other way to look into it."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(file)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(back, there), context.wrap_bio(there, back, server_side=True)]
    waiting = True
    try:
        while waiting:
            waiting = False
            for end in ends:
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    waiting = True
    except ssl.SSLError as error:
        raise ConfigError(f"tls_cert: {file}: {explain(error)}; make a new one") from None
    return ends[0].getpeercert() or {}


def names_of(certificate: Mapping[str, Any] | None) -> list[str]:
    """Return the names in a certificate: common names, and alternative ones of any kind."""
    if not certificate:
        return []
    common = [value for part in certificate.get("subject", ()) for name, value in part if name == "commonName"]
    others = [value for _, value in certificate.get("subjectAltName", ()) if isinstance(value, str)]
    return list(dict.fromkeys([*common, *others]))


def explain(error: OSError) -> str:
    """Return in words why TLS with whoever is at the other end failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in UNKNOWN_CA:
            return "the certificate is of a CA that is not known here; tls_ca names one"
        return f"the certificate is not good: {error.verify_message.rstrip('.')}"
    if not isinstance(error, ssl.SSLError):
        return error.strerror or str(error)
    reason = error.reason or "UNEXPECTED_EOF_WHILE_READING"
    return REASONS.get(reason, reason.lower().replace("_", " "))
