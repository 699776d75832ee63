"""Whom we trust on the other end of a TLS connection, and with which certificate we show ourselves."""

import re
import ssl
from pathlib import Path

from libs.settings import SettingsError

VERIFY_FAILED = "CERTIFICATE_VERIFY_FAILED"  # what OpenSSL calls it, in the text of whatever error a driver makes of it


class CertificateError(SettingsError):
    """A file of certificates that cannot be used; the text is one sentence for the person who named it."""


def create_client_context(
    ca_file: Path | None, client_certificate: Path | None = None, *, keep_system_authorities: bool = False
) -> ssl.SSLContext:
    """Trusts the authorities of the file instead of the system's, or `besides` them. Raises CertificateError."""
    try:
        context = ssl.create_default_context(cafile=None if keep_system_authorities else ca_file)
        if ca_file and keep_system_authorities:
            context.load_verify_locations(ca_file)
    except (OSError, ssl.SSLError) as error:
        raise CertificateError(f"HEADRACE_CA_FILE: {ca_file} holds no certificates ({_describe(error)}).") from None
    if client_certificate:
        try:
            context.load_cert_chain(client_certificate)
        except (OSError, ssl.SSLError) as error:
            raise CertificateError(
                f"HEADRACE_CLIENT_CERTIFICATE: {client_certificate} holds no certificate with its key "
                f"({_describe(error)})."
            ) from None
    return context


def create_server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Shows the certificate to whoever connects. Raises CertificateError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load_certificate(context, certificate, key)
    return context


def load_certificate(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Show this one from the next connection on. Raises CertificateError."""
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise CertificateError(
            f"HEADRACE_TLS_CERTIFICATE and HEADRACE_TLS_KEY: {certificate} and {key} are no certificate and its key "
            f"({_describe(error)})."
        ) from None


def explain_untrusted(server: str, error: BaseException) -> str | None:
    """In words, if that is what went wrong: the other end's certificate is not signed by those we trust."""
    if VERIFY_FAILED not in str(error):
        return None
    why = re.search(r"verify failed: ([^(]+?) *\(", str(error))
    return (
        f"{server} shows a certificate that is not trusted; HEADRACE_CA_FILE names a file of authorities to trust"
        f"{f' ({why[1]})' if why else ''}."
    )


def _describe(error: OSError) -> str:
    return str(getattr(error, "reason", None) or error.strerror or type(error).__name__)
