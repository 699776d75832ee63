"""The gateway's TLS certificate, reloaded while the process runs when its files change."""

import logging
import ssl
from pathlib import Path

from libs.security import tls
from libs.settings import Settings

log = logging.getLogger("headrace.gateway")


class ServerCertificate:
    """A TLS server context whose certificate can be reloaded."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Load the certificate. Raises CertificateError."""
        self._files = (certificate, key)
        self._loaded_version = self._modification_times()
        self.context: ssl.SSLContext = tls.create_server_context(certificate, key)

    @classmethod
    def from_settings(cls, settings: Settings) -> "ServerCertificate | None":
        if settings.tls_certificate is None or settings.tls_key is None:
            return None
        return cls(settings.tls_certificate, settings.tls_key)

    def reload_if_changed(self) -> None:
        """Load changed files for new connections. If the files are unusable, the previous certificate stays in use."""
        version = self._modification_times()
        if version != self._loaded_version:
            self._loaded_version = version
            try:
                # first try with a new context: after a failure halfway, a context can serve neither certificate
                tls.create_server_context(*self._files)
                tls.load_certificate(self.context, *self._files)
            except tls.CertificateError as error:
                log.error("%s", error)
            else:
                log.info("TLS certificate reloaded")

    def _modification_times(self) -> tuple[int, ...]:
        return tuple(file.stat().st_mtime_ns if file.exists() else 0 for file in self._files)
