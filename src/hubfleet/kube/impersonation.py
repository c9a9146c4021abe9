"""For whom a request is made: the API server then applies that account's rights instead of ours."""

from urllib.parse import quote

import msgspec


class Impersonation(msgspec.Struct, frozen=True):
    """Whom a request names in its `Impersonate-*` headers; `extra` is key -> values."""

    user: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: dict[str, tuple[str, ...]] = {}

    @classmethod
    def for_service_account(cls, namespace: str, name: str) -> "Impersonation":
        """The ServiceAccount of a namespace.

        No groups: the API server adds those of a ServiceAccount itself, and naming them would need the right
        to impersonate groups, which whoever has it can use to become cluster-admin.
        """
        return cls(f"system:serviceaccount:{namespace}:{name}")

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Raises ValueError without a user: such a request would silently be made as ourselves."""
        if not self.user:
            raise ValueError("impersonation needs a user")
        pairs = [("Impersonate-User", self.user)]
        pairs += [("Impersonate-Group", group) for group in self.groups]
        if self.uid:
            pairs.append(("Impersonate-Uid", self.uid))
        for key, values in self.extra.items():
            pairs += [(f"Impersonate-Extra-{quote(key, safe='').lower()}", value) for value in values]
        return tuple(pairs)
