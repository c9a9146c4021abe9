"""How a Hub user is called on a cluster: the namespace, by the scheme of the settings, and the label.

One law for every scheme: a name is either taken as it is, or what is left of it is readable and a hash says
the rest, after `--`, which no name that is taken as it is holds: so the two forms cannot meet. Names are for
ever, because people's data lies under them; nothing here depends on Python's tables of Unicode, which grow
with every version, nor on a setting that is not the scheme itself.

A name alone proves nothing (kbatch's own scheme has 28 bits of hash, and anybody may have made a namespace of
that name): `provisioning` looks whose it is before anybody reads or writes in it.
"""

import base64
import hashlib
import re
from collections.abc import Collection

LIMIT = 51
"""Characters of a namespace. With a Dask cluster's own name it must fit an SNI label of 63 characters."""

HASH = 16
"""Characters of base32, 5 bits each: 80 bits of SHA-256."""

RESERVED = frozenset({"default", "istio-system"})
RESERVED_PREFIXES = ("kube-", "openshift-")
"""The cluster's own namespaces. Kubernetes reserves `kube-` for itself, OpenShift `openshift-`."""

_LABEL_LIMIT = 63
_SAFE = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_AS_IT_IS = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}  # ASCII's, which never change


def namespace_for(
    name: str, kind: str = "user", scheme: str = "hubfleet", *, reserved: Collection[str] = ()
) -> str:
    """The namespace of a Hub user (or service, where `kind` is that): a DNS label of at most 51 characters.

    `scheme` is `tenancy.namespace` of the settings, which have checked it: "hubfleet", "kbatch" (as kbatch
    0.5 names them), "multicluster-kubespawner", or a template such as `jupyter-{user}`. `reserved` are names
    that are nobody's, besides those of the cluster itself: the namespace that this server runs in. A service
    of the Hub never shares a namespace with a user of its name.
    """
    match scheme:
        case "kbatch":
            before, after, middle = "kbatch-", "", _kbatch(name, kind)
        case "multicluster-kubespawner":
            before, after, middle = "jupyter-", "", _escaped(name) if kind == "user" else ""
        case _:
            template = "hubfleet-{user}" if scheme == "hubfleet" else scheme
            before, _, after = template.partition("{user}")
            middle = name if kind == "user" and _AS_IT_IS.fullmatch(name) else ""
    namespace = before + middle + after
    if middle and len(namespace) <= LIMIT and not is_reserved(namespace, reserved):
        return namespace
    room = LIMIT - len(before) - len(after) - len("--") - HASH
    readable = re.sub("[^a-z0-9]+", "-", name.translate(_LOWER)).strip("-")[:room].strip("-") or "x"
    hashed = f"{readable}--{_hash(name, kind)}{after}"
    if is_reserved(before + hashed, ()):
        # Still in a reserved family (`kube-system` by the template `{user}`): the family is what must go.
        hashed = f"x-{readable[: room - 2].rstrip('-')}--{_hash(name, kind)}{after}"
    return before + hashed


def is_reserved(namespace: str, reserved: Collection[str]) -> bool:
    """Whether a namespace of this name is the cluster's, or one of the `reserved`, and so no user's."""
    return namespace in RESERVED or namespace in reserved or namespace.startswith(RESERVED_PREFIXES)


def username_label(name: str) -> str:
    """The value of the label `kbatch.jupyter.org/username`: bytes outside [a-z0-9] as `-` and their hex.

    That is escapism's `escape(name, safe=[a-z0-9], escape_char="-")`, as in kbatch. Where Kubernetes would
    refuse it (names that begin with anything else, or become longer than 63 characters) it is cut to 48
    characters from the first letter or digit on, followed by `--` and ten hex digits of the name's hash;
    an escaped name never holds `--`, so the two forms cannot meet.
    """
    escaped = escape(name)
    if name and escaped[0] != "-" and len(escaped) <= _LABEL_LIMIT:
        return escaped
    stem = escaped.lstrip("-")[:48].rstrip("-") or "x"
    return f"{stem}--{_digest(name)[:10]}"


def escape(name: str) -> str:
    """`escapism.escape(name, safe=[a-z0-9], escape_char="-")`."""
    return "".join(c if c in _SAFE else "".join(f"-{byte:X}" for byte in c.encode("utf-8")) for c in name)


def kbatch_namespace(name: str) -> str:
    """As kbatch-proxy 0.5 names a user's namespace, however long: at most 56 characters."""
    return f"kbatch-{_kbatch(name, 'user')}"


def spawner_namespace(name: str) -> str:
    """As multicluster-kubespawner names it by its default template, however long."""
    return f"jupyter-{escape(name).lower()}"


def old_kbatch_namespace(name: str) -> str:
    """As kbatch-proxy 0.4 named it: `a.b` and `a-b` shared one, and a user `kube-system` had that."""
    return re.sub("[^a-z0-9]", "-", name.lower())


def _kbatch(name: str, kind: str) -> str:
    """kbatch 0.5's own form, with seven hex digits; `lower` and all, for these namespaces are there."""
    if kind != "user":
        return ""  # kbatch-proxy answered services with 500, so no namespace of theirs exists
    stem = re.sub("[^a-z0-9]+", "-", name.lower())[:40].strip("-")
    return stem if stem == name else f"{stem}--{_digest(name)[:7]}"


def _escaped(name: str) -> str:
    # escapism writes a byte below 16 as one digit, which could also be read as the first of two.
    return "" if any(c < "\x10" for c in name) else escape(name).lower()


def _hash(name: str, kind: str) -> str:
    digest = hashlib.sha256(f"{kind}\0{name}".encode()).digest()
    return base64.b32encode(digest).decode("ascii")[:HASH].lower()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
