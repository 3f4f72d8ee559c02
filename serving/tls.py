"""TLS for the ports of a process: a certificate and its key from files, and who must show one of theirs.

Certificates are renewed while a process runs (cert-manager every two months, others every day): each new connection looks
whether the files have changed, which takes three calls of `stat`. What can't be used, such as a new certificate beside the
old key, leaves the last good one in force, and is said once.
"""

import logging
import os
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc

log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Paths of PEM files. `client_ca`: clients must show a certificate signed by one of these; None: nobody must."""

    cert: str
    key: str
    client_ca: str | None = None

    def context(self) -> ssl.SSLContext:
        """Return what HTTP needs; OSError (ssl.SSLError is one) that names what can't be used."""
        # TLS 1.2 and later, without a client's certificate unless a CA is named.
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.set_alpn_protocols(["http/1.1"])
        for path in (self.cert, self.key, *([self.client_ca] if self.client_ca else [])):
            # OpenSSL's own errors don't name the file.
            Path(path).read_bytes()
        try:
            # A key with a passphrase would be asked for on the terminal.
            context.load_cert_chain(self.cert, self.key, password=_no_passphrase)
        except (ssl.SSLError, ValueError) as error:
            raise OSError(f"{self.cert} and {self.key} are no certificate and its key: {_why(error)}") from error
        if self.client_ca is not None:
            try:
                context.load_verify_locations(self.client_ca)
            except ssl.SSLError as error:
                raise OSError(f"{self.client_ca} holds no certificates: {_why(error)}") from error
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def stamp(self) -> tuple[tuple[int, int, int], ...]:
        """Return what changes when a file does; OSError when one is gone."""
        found = [os.stat(path) for path in (self.cert, self.key, *([self.client_ca] if self.client_ca else []))]
        return tuple((one.st_mtime_ns, one.st_ino, one.st_size) for one in found)


class Current:
    """The certificate in force. Mutable: the stamp it was read at, and whether trouble was said. Threads share it."""

    def __init__(self, files: CertificateFiles) -> None:
        self.files = files
        self.context = files.context()
        self._stamp = files.stamp()
        self._tried = self._stamp
        self._lock = threading.Lock()

    def renew(self) -> bool:
        """Take over changed files, and say whether there were any that can be used."""
        with self._lock:
            try:
                stamp = self.files.stamp()
                if stamp in (self._stamp, self._tried):
                    return False
                self._tried = stamp
                self.context = self.files.context()
            except OSError as error:
                log.warning("certificate not renewed, the last one stays in force: %s", error)
                return False
            self._stamp = stamp
        log.info("certificate renewed: %s", self.files.cert)
        return True


def https_context(files: CertificateFiles) -> ssl.SSLContext:
    """Return a context for an HTTP server, which follows its files; OSError when they can't be used now."""
    current = Current(files)
    # Not current.context: what holds the callback must not be what it replaces.
    context = files.context()

    def on_hello(connection: Any, name: str | None, _: ssl.SSLContext) -> None:
        current.renew()
        connection.context = current.context

    context.sni_callback = on_hello
    return context


def grpc_credentials(files: CertificateFiles) -> Any:
    """Return a gRPC server's credentials, which follow their files; OSError when they can't be used now."""
    current = Current(files)

    def configuration() -> Any:
        chain, key = Path(files.cert).read_bytes(), Path(files.key).read_bytes()
        roots = None if files.client_ca is None else Path(files.client_ca).read_bytes()
        return grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=roots)

    def fetch() -> Any:
        """Return what is new, None when nothing is; gRPC asks at every handshake, in a thread of its own."""
        try:
            return configuration() if current.renew() else None
        except OSError as error:
            log.warning("certificate not renewed, the last one stays in force: %s", error)
            return None

    return grpc.dynamic_ssl_server_credentials(
        configuration(), fetch, require_client_authentication=files.client_ca is not None
    )


def _no_passphrase() -> bytes:
    raise ValueError("the key has a passphrase: keys are read unattended, take one without")


def _why(error: Exception) -> str:
    return getattr(error, "reason", None) or str(error)
