"""A route's name: the host and the path below which everything goes to one target.

The path travels in several spellings (`/user/a@b`, `/user/a%40b`): the Hub writes one, browsers another one,
scripts a third. What names a route is the decoded path; what a gateway is given are the spellings that may
arrive, for it compares bytes.

Whatever two parties on the way could read differently is refused: `..`, `//`, an encoded slash, a backslash,
control characters. Each of them has been a way past somebody's access rules.
"""

import hashlib
import re
import unicodedata
from urllib.parse import quote, unquote_to_bytes

import msgspec

LONGEST = 1024
"""Bytes of an encoded path: what the Gateway API allows for the value of a path match."""

_BROKEN = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*")

_AS_JUPYTERHUB = "@~/"
"""What jupyterhub.utils.url_escape_path leaves as it is, beside letters, digits and `_.-`."""

_AS_BROWSERS = "@~/!$&'()*+,;=:[]|"
"""What browsers leave as it is in a path, by WHATWG's path percent-encode set."""


class Routespec(msgspec.Struct, frozen=True, order=True):
    """`path` is decoded, starts with `/` and ends with it only where it is nothing else; `host` "" is any."""

    path: str
    host: str = ""

    @property
    def key(self) -> str:
        """As CHP's API names it: the host is the first segment."""
        if not self.host:
            return self.path
        return f"/{self.host}" if self.path == "/" else f"/{self.host}{self.path}"

    @property
    def depth(self) -> int:
        """Segments of the path: of two prefixes of one request, the longer one has more."""
        return 0 if self.path == "/" else self.path.count("/")

    @property
    def digest(self) -> str:
        """40 hexadecimal digits, the same in every process."""
        return hashlib.sha256(f"{self.host}\0{self.path}".encode()).hexdigest()[:40]

    def spellings(self) -> tuple[str, ...]:
        """The encoded forms of the path that clients send: the Hub's own first, no form twice."""
        return spellings(self.path)


def spellings(path: str) -> tuple[str, ...]:
    """The encoded forms of a decoded path that clients send: JupyterHub's own first, no form twice.

    Three ways to choose what is encoded, each with upper-case and lower-case digits: not every mixture, of
    which there are as many as two to the power of the special characters.
    """
    hub = quote(path, safe=_AS_JUPYTERHUB)
    if hub == path and "@" not in hub:
        return (hub,)
    forms = (hub, quote(path, safe=_AS_BROWSERS), quote(path, safe="/~"))
    return tuple(dict.fromkeys(spelt for form in forms for spelt in (form, _lower_digits(form))))


def _lower_digits(encoded: str) -> str:
    return re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), encoded)


def parse(raw: bytes, *, host_routing: bool = False) -> Routespec:
    """The routespec of an encoded path as CHP's API gets it (b"" is `/`); ValueError with words for people.

    With `host_routing` the first segment is a host; `/` is for every host.
    """
    if _BROKEN.search(raw):
        raise ValueError("the path has a '%' that is not followed by two hexadecimal digits")
    if re.search(rb"%2f|%5c", raw, re.I):
        raise ValueError("the path has an encoded slash, which servers read in different ways")
    try:
        path = unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise ValueError("the path is not UTF-8") from None
    if not path.startswith("/"):
        path = f"/{path}"
    if len(path) > 1:
        path = path.removesuffix("/") or "/"
    check(path)
    if not host_routing or path == "/":
        return Routespec(path)
    host, _, rest = path[1:].partition("/")
    host = host.lower()
    if not _HOST.fullmatch(host):
        raise ValueError(f"the path begins with {host[:64]!r}, which is not the name of a host")
    return Routespec(f"/{rest}", host)


def check(path: str) -> None:
    """Raises ValueError for a decoded path that no route can have."""
    if any(unicodedata.category(character) == "Cc" for character in path):
        raise ValueError("the path has control characters")
    if "\\" in path:
        raise ValueError("the path has a backslash, which browsers take for a slash")
    segments = path.split("/")[1:]
    if path != "/" and "" in segments:
        raise ValueError("the path has empty segments ('//')")
    if "." in segments or ".." in segments:
        raise ValueError("the path has '.' or '..' as a segment")
    if len(quote(path, safe=_AS_JUPYTERHUB)) > LONGEST:
        raise ValueError(f"the path is longer than {LONGEST} bytes")
