"""The files for TLS connections to the broker."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from jarvis_recorder.errors import ConfigurationError


@dataclass(frozen=True)
class Tls:
    """
    PEM files of the trusted authorities and of the client certificate.

    Without `ca_file` the authorities of the system are trusted. `cert_file` and `key_file` are
    the client certificate, for a broker that requires one; a file with both needs no `key_file`.
    """

    ca_file: Path | str | None = None
    cert_file: Path | str | None = None
    key_file: Path | str | None = None

    def context(self) -> ssl.SSLContext:
        """
        Read the files and return a context that checks the broker's certificate and host name.

        Raises:
            ConfigurationError: A file is missing, unreadable or invalid.
        """
        for name in ("ca_file", "cert_file", "key_file"):
            _require_readable(name, getattr(self, name))
        if self.key_file and not self.cert_file:
            raise ConfigurationError("key_file is set without cert_file: set both, or neither")
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except ssl.SSLError:
            raise ConfigurationError(
                f"ca_file: {self.ca_file}: holds no certificate in PEM"
            ) from None
        if self.cert_file:
            self._load_certificate(context, self.cert_file)
        return context

    def _load_certificate(self, context: ssl.SSLContext, cert_file: Path | str) -> None:
        def ask() -> NoReturn:
            raise ConfigurationError(
                f"key_file: {self.key_file or cert_file}: is encrypted: name one without a passphrase"
            )

        try:
            context.load_cert_chain(cert_file, self.key_file, password=ask)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise ConfigurationError(
                    f"cert_file: {cert_file}: the key in {self.key_file or 'it'} belongs to "
                    "another certificate"
                ) from None
            raise ConfigurationError(
                f"cert_file: {cert_file}: no certificate in PEM there, or no key in "
                f"{self.key_file or 'it'}: name the key in key_file"
            ) from None


def _require_readable(name: str, path: Path | str | None) -> None:
    if path is None:
        return
    try:
        with Path(path).open("rb"):
            pass
    except OSError as error:
        raise ConfigurationError(f"{name}: {path}: cannot be read: {error.strerror}") from None
