"""TLS contexts, and explanations of certificate errors."""

import re
import ssl
from pathlib import Path

from libs.settings import SettingsError

VERIFY_FAILED = "CERTIFICATE_VERIFY_FAILED"  # OpenSSL's name of the error, contained in the messages of all drivers


class CertificateError(SettingsError):
    """A certificate file cannot be used. The message is one sentence for the operator."""


def create_client_context(
    ca_file: Path | None, client_certificate: Path | None = None, *, keep_system_authorities: bool = False
) -> ssl.SSLContext:
    """Return a client context that trusts the CAs of `ca_file` instead of the system's.

    With `keep_system_authorities` it trusts both. Without `ca_file` it trusts the system's. Raises CertificateError.
    """
    try:
        context = ssl.create_default_context(cafile=None if keep_system_authorities else ca_file)
        if ca_file and keep_system_authorities:
            context.load_verify_locations(ca_file)
    except (OSError, ssl.SSLError) as error:
        raise CertificateError(f"HEADRACE_CA_FILE: {ca_file} contains no certificates ({_describe(error)}).") from None
    if client_certificate:
        try:
            context.load_cert_chain(client_certificate)
        except (OSError, ssl.SSLError) as error:
            raise CertificateError(
                f"HEADRACE_CLIENT_CERTIFICATE: {client_certificate} does not contain a certificate and its key "
                f"({_describe(error)})."
            ) from None
    return context


def create_server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return a server context with the certificate. Raises CertificateError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load_certificate(context, certificate, key)
    return context


def load_certificate(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Load a certificate that applies to new connections. Raises CertificateError."""
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise CertificateError(
            f"HEADRACE_TLS_CERTIFICATE and HEADRACE_TLS_KEY: {certificate} and {key} are not a certificate and its key "
            f"({_describe(error)})."
        ) from None


def explain_untrusted(server: str, error: BaseException) -> str | None:
    """Return an explanation if the error is an untrusted certificate of the server; otherwise None."""
    if VERIFY_FAILED not in str(error):
        return None
    why = re.search(r"verify failed: ([^(]+?) *\(", str(error))
    return (
        f"The certificate of {server} is not trusted; set HEADRACE_CA_FILE to a file of trusted CA certificates"
        f"{f' ({why[1]})' if why else ''}."
    )


def _describe(error: OSError) -> str:
    return str(getattr(error, "reason", None) or error.strerror or type(error).__name__)
