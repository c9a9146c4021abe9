"""How a Hub user is called on a cluster: the namespace and the label, as kbatch 0.5 names them.

Kept to the letter, because users of kbatch have data and jobs under these names. What kbatch left open is
closed here: a label is always valid, and a Hub *service* never shares a namespace with a user of its name.
"""

import hashlib
import re

_LABEL_LIMIT = 63
_SAFE = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")


def namespace_for(name: str, kind: str = "user") -> str:
    """The namespace of a Hub user (or service, where `kind` is that): a DNS label of at most 56 characters.

    `kbatch-NAME` where the name can be taken as it is, else what is left of it, `--`, and seven hex digits of
    its hash. The two forms cannot meet, for a name with `--` in it cannot be taken as it is. Two names that
    share both their remains and the 28 bits of hash do meet, and so do a user and whatever else begins with
    `kbatch-` (`kbatch-system` of the platform, another hub's user): a name alone proves nothing, and
    `provisioning` looks whose the namespace is before anybody reads or writes in it.
    """
    stem = re.sub("[^a-z0-9]+", "-", name.lower())[:40].strip("-")
    if kind == "service":
        # kbatch-proxy answered services with 500, so no namespace of theirs exists; NUL is in no user's name.
        stem += "--" + _digest("service\0" + name)[:7]
    elif stem != name:
        stem += "--" + _digest(name)[:7]
    return f"kbatch-{stem}"


def username_label(name: str) -> str:
    """The value of the label `kbatch.jupyter.org/username`: bytes outside [a-z0-9] as `-` and their hex.

    That is escapism's `escape(name, safe=[a-z0-9], escape_char="-")`, as in kbatch. Where Kubernetes would
    refuse it (names that begin with anything else, or become longer than 63 characters) it is cut to 48
    characters from the first letter or digit on, followed by `--` and ten hex digits of the name's hash;
    an escaped name never holds `--`, so the two forms cannot meet.
    """
    escaped = "".join(c if c in _SAFE else "".join(f"-{byte:X}" for byte in c.encode("utf-8")) for c in name)
    if name and escaped[0] != "-" and len(escaped) <= _LABEL_LIMIT:
        return escaped
    stem = escaped.lstrip("-")[:48].rstrip("-") or "x"
    return f"{stem}--{_digest(name)[:10]}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
