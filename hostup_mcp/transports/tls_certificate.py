"""The certificate and key for TLS, loaded from the files of the settings."""

from __future__ import annotations

import ssl
from pathlib import Path

from hostup_mcp.config.http import HttpSettings
from hostup_mcp.config.sections import require_file, shown_path
from hostup_mcp.transports.errors import ServeError


def tls_context(settings: HttpSettings) -> ssl.SSLContext | None:
    """The TLS context for the certificate of the settings; None if there is none.

    Raises:
        ServeError: the certificate or the key cannot be used, or only one of them is set.
    """
    cert, key = settings.tls_cert, settings.tls_key
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise ServeError(
            "tls_incomplete",
            "TLS needs a certificate and its key.",
            "Give --tls-cert and --tls-key together.",
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        for path in (cert, key):
            require_file(Path(path))
        # Without this, OpenSSL would ask for the password of a key on the terminal.
        context.load_cert_chain(cert, key, password=lambda: "")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or "unreadable"
        raise ServeError(
            "tls_unusable",
            f"The certificate {shown_path(cert)} or its key {shown_path(key)} cannot be used "
            f"({reason}).",
            "Give PEM files that belong together; the key must have no password.",
        ) from None
    return context
