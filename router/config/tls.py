"""The section `tls` of `turpin.yaml`: which ports are encrypted, with what, and who must show a certificate of theirs."""

import ssl
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from router.config.document import Document, Problem, refuse, shown
from serving.tls import CertificateFiles, grpc_credentials, https_context


def _check_path(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError(f"must be an absolute path; got {shown(path)}")
    return path


PemFile = Annotated[str, AfterValidator(_check_path)]


class Certificate(Document):
    """A certificate for one port, with its key; both in PEM, followed when they are renewed."""

    cert: PemFile = Field(description="the file of the certificate, and of those that lead from it to its root")
    key: PemFile = Field(description="the file of its key, without a passphrase")
    # None: whoever reaches the port may connect. Else only who has a certificate signed by one of this file's.
    client_ca: PemFile | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        try:
            self.files().context()
        except OSError as error:
            reason = f"can't read {error.filename}: {error.strerror}" if error.filename else str(error)
            refuse([Problem((), reason)])
        return self

    def files(self) -> CertificateFiles:
        """Return the files as `serving` reads them."""
        return CertificateFiles(self.cert, self.key, self.client_ca)


class Tls(Document):
    """TLS by port. What has no certificate is plain, as TF Serving's ports are."""

    grpc: Certificate | None = None
    http: Certificate | None = None
    admin: Certificate | None = None
    metrics: Certificate | None = None


def https_of(certificate: Certificate | None) -> ssl.SSLContext | None:
    """Return what an HTTP port needs, None for a plain one; OSError when the files can't be used any more."""
    return None if certificate is None else https_context(certificate.files())


def grpc_of(certificate: Certificate | None) -> Any:
    """Return what a gRPC port needs, None for a plain one; OSError when the files can't be used any more."""
    return None if certificate is None else grpc_credentials(certificate.files())
