"""The `continue` tokens of chunked lists: which revision is being read, and where the next chunk starts."""

import base64
import binascii
from typing import NamedTuple

import msgspec

from localkube.apiserver import status

_VERSION = "meta.k8s.io/v1"

EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new "
    "list without the continue parameter, or use the continue token in this response to retrieve the "
    "remainder of the results. Continuing with the provided token results in an inconsistent list - objects "
    "that were created, modified, or deleted between the time the first chunk was returned and now may show "
    "up in the list."
)


class Token(NamedTuple):
    """`revision` -1 continues with whatever is there now; `start` is the key after which to go on."""

    revision: int
    start: str


class _Wire(msgspec.Struct):
    v: str = ""
    rv: int = 0
    start: str = ""


def encode(token: Token) -> str:
    # the key that follows `start` is the first one after start + NUL, as etcd's ranges are written
    body = msgspec.json.encode(_Wire(_VERSION, token.revision, token.start + "\x00"))
    return base64.urlsafe_b64encode(body).rstrip(b"=").decode()


def decode(text: str) -> Token:
    """Raises StatusError 400."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _invalid("illegal base64 data at input byte 0") from None
    try:
        wire = msgspec.json.decode(raw, type=_Wire)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise _invalid(_syntax(raw)) from None
    if wire.v != _VERSION:
        raise _invalid(f'server does not recognize this encoded version "{wire.v}"')
    if wire.rv == 0:
        raise _invalid(f'incorrect encoded start resourceVersion "{_VERSION}"')
    if not wire.start:
        raise _invalid("encoded start key empty")
    return Token(wire.rv, wire.start.rstrip("\x00"))


def _syntax(raw: bytes) -> str:
    if not raw:
        return "unexpected end of JSON input"
    first = raw[0]
    if raw[:1] == b"{":
        return "unexpected end of JSON input"
    shown = f"'{chr(first)}'" if 32 <= first < 127 else f"'\\x{first:02x}'"
    return f"invalid character {shown} looking for beginning of value"


def _invalid(problem: str) -> status.StatusError:
    return status.bad_request(f"invalid continue token: continue key is not valid: {problem}")
