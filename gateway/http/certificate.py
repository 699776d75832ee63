"""The certificate that the gateway shows, if it speaks TLS itself; a renewed one is taken up while it runs."""

import logging
import ssl
from pathlib import Path

from libs.security import tls
from libs.settings import Settings

log = logging.getLogger("headrace.gateway")


class ServerCertificate:
    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises CertificateError."""
        self._files = (certificate, key)
        self._loaded_version = self._modification_times()
        self.context: ssl.SSLContext = tls.create_server_context(certificate, key)

    @classmethod
    def from_settings(cls, settings: Settings) -> "ServerCertificate | None":
        if settings.tls_certificate is None or settings.tls_key is None:
            return None
        return cls(settings.tls_certificate, settings.tls_key)

    def reload_if_changed(self) -> None:
        """Connections from now on get what the files hold; while these do not fit together, what they held before."""
        changed_at = self._modification_times()
        if changed_at != self._loaded_version:
            self._loaded_version = changed_at
            try:
                tls.create_server_context(
                    *self._files
                )  # a context that failed half way would show neither the old nor the new one
                tls.load_certificate(self.context, *self._files)
            except tls.CertificateError as error:
                log.error("%s", error)
            else:
                log.info("a renewed certificate is in use")

    def _modification_times(self) -> tuple[int, ...]:
        return tuple(file.stat().st_mtime_ns if file.exists() else 0 for file in self._files)
