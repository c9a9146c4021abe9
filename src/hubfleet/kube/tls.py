"""TLS contexts for API servers: custom CAs and client certificates, from bytes."""

import ssl
import tempfile
from pathlib import Path


def context(
    *,
    ca: bytes | None = None,
    insecure: bool = False,
    certificate: bytes | None = None,
    key: bytes | None = None,
) -> ssl.SSLContext:
    """A client's context; all bytes are PEM. With `ca` only that authority is trusted."""
    made = ssl.create_default_context(cadata=ca.decode() if ca else None)
    # Python 3.13 turns this on; the CAs of many running clusters lack the extensions that it asks for.
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if insecure:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        # OpenSSL's loader takes paths only: the key is on disk, readable by us alone, for this moment.
        with tempfile.TemporaryDirectory(prefix="hubfleet-") as directory:
            pem = Path(directory) / "client.pem"
            pem.touch(mode=0o600)
            pem.write_bytes(certificate + b"\n" + (key or b""))
            made.load_cert_chain(pem)
    return made
