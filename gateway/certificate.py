"""The certificate that the gateway shows, if it speaks TLS itself; a renewed one is taken up while it runs."""

import logging
import ssl
from pathlib import Path

from libs import tls
from libs.settings import Settings

log = logging.getLogger("headrace.gateway")


class Certificate:
    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises CertificateError."""
        self._files = (certificate, key)
        self._seen = self._changed_at()
        self.context: ssl.SSLContext = tls.serving(certificate, key)

    @classmethod
    def of(cls, settings: Settings) -> "Certificate | None":
        if settings.tls_certificate is None or settings.tls_key is None:
            return None
        return cls(settings.tls_certificate, settings.tls_key)

    def renew(self) -> None:
        """Connections from now on get what the files hold; while these do not fit together, what they held before."""
        changed_at = self._changed_at()
        if changed_at != self._seen:
            self._seen = changed_at
            try:
                tls.serving(*self._files)  # a context that failed half way would show neither the old nor the new one
                tls.load(self.context, *self._files)
            except tls.CertificateError as error:
                log.error("%s", error)
            else:
                log.info("a renewed certificate is in use")

    def _changed_at(self) -> tuple[int, ...]:
        return tuple(file.stat().st_mtime_ns if file.exists() else 0 for file in self._files)
