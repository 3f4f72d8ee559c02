"""A certificate authority for tests: it writes certificates where a server looks for them, and equips clients."""

import ssl
from pathlib import Path
from typing import Any

import grpc
import trustme

from serving.tls import CertificateFiles


class Authority:
    """A CA that writes certificates where a server looks for them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.ca = folder / "ca.pem"
        self.authority.cert_pem.write_to_path(str(self.ca))

    def files(self, *, is_mutual: bool = False, name: str = "localhost") -> CertificateFiles:
        """Write a certificate, over the one that was there."""
        issued = self.authority.issue_cert(name)
        cert, key = self.folder / "cert.pem", self.folder / "key.pem"
        issued.cert_chain_pems[0].write_to_path(str(cert))
        issued.private_key_pem.write_to_path(str(key))
        return CertificateFiles(str(cert), str(key), str(self.ca) if is_mutual else None)

    def client(self, *, has_certificate: bool = False) -> ssl.SSLContext:
        """Return what a client needs that trusts this CA."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if has_certificate:
            self.authority.issue_cert("client").configure_cert(context)
        return context

    def credentials(self, *, has_certificate: bool = False) -> Any:
        """Return the same for gRPC."""
        issued = self.authority.issue_cert("client")
        own = (issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes()) if has_certificate else (None, None)
        return grpc.ssl_channel_credentials(self.ca.read_bytes(), *own)
