"""The token in a request's `Authorization` header."""

import re

_HEADER = re.compile(r"(?:token|bearer)[ \t]+(.*\S)", re.I | re.S)


def token_in(header: str) -> str:
    """The token of `token T` or `Bearer T`, as JupyterHub's HubAuth reads it; "" where there is none."""
    found = _HEADER.match(header.strip())
    return found[1] if found else ""
