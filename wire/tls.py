"""Certificates for the cable between edge and cloud, made for one run and thrown away with it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from wire.errors import InputError

NAMES = ("localhost", "127.0.0.1", "::1", "link", "cloud")
"""Names that the edge may call: the link answers in the cloud's name, since it only passes bytes on."""


@dataclass(frozen=True)
class TlsFiles:
    """PEM files. ``authority``: what the edge trusts; ``certificate`` and ``key``: what the cloud shows and keeps."""

    authority: Path
    certificate: Path
    key: Path

    @classmethod
    def of(cls, folder: Path) -> TlsFiles:
        """The files in ``folder`` as :func:`make_certificates` names them (the edge needs ``authority.pem`` only)."""
        folder = Path(folder)
        return cls(folder / "authority.pem", folder / "cloud.pem", folder / "cloud.key")


def make_certificates(folder: Path, names: Sequence[str] = NAMES) -> Path:
    """Make an authority and a certificate for ``names`` (hosts or addresses) in ``folder``; returns ``folder``.

    The authority's own key is never written: nobody can make another certificate for it.
    """
    import trustme  # only the side that makes certificates needs it

    folder.mkdir(parents=True, exist_ok=True)
    files = TlsFiles.of(folder)
    authority = trustme.CA()
    issued = authority.issue_cert(*names)
    authority.cert_pem.write_to_path(files.authority)
    files.certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    descriptor = os.open(files.key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(issued.private_key_pem.bytes())
    return folder


def channel_credentials(files: TlsFiles) -> grpc.ChannelCredentials:
    """The edge trusts this authority and no other. InputError for a file that cannot be read."""
    return grpc.ssl_channel_credentials(root_certificates=_read(files.authority))


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """The cloud shows this certificate. InputError for a file that cannot be read."""
    return grpc.ssl_server_credentials([(_read(files.key), _read(files.certificate))])


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"TLS file {path}: {error.strerror}; expected PEM (made by `eavesplit run --tls`)") from error
