"""Makes `FieldError`s, with values quoted as Go quotes them.

`path` is the field as the API names it, `spec.containers[0].name`; helpers for its parts are `index` and
`key`.
"""

import json
from collections.abc import Iterable
from typing import Any

from localkube.apiserver.scalars import go_quote
from localkube.apiserver.status import FieldError

IMMUTABLE = "field is immutable"
NOT_NEGATIVE = "must be greater than or equal to 0"


def index(path: str, position: int) -> str:
    return f"{path}[{position}]"


def key(path: str, name: str) -> str:
    return f"{path}[{name}]"


def go_json(value: Any) -> str:
    """Go's `json.Marshal`: no spaces, and HTML's special characters escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    return go_quote(value) if isinstance(value, str) else go_json(value)


def _with_detail(text: str, detail: str) -> str:
    return f"{text}: {detail}" if detail else text


def invalid(path: str, value: Any, detail: str) -> FieldError:
    return FieldError("FieldValueInvalid", path, _with_detail(f"Invalid value: {_shown(value)}", detail))


def required(path: str, detail: str = "") -> FieldError:
    return FieldError("FieldValueRequired", path, _with_detail("Required value", detail))


def forbidden(path: str, detail: str) -> FieldError:
    return FieldError("FieldValueForbidden", path, _with_detail("Forbidden", detail))


def duplicate(path: str, value: Any) -> FieldError:
    return FieldError("FieldValueDuplicate", path, f"Duplicate value: {_shown(value)}")


def not_found(path: str, value: Any, detail: str = "") -> FieldError:
    return FieldError("FieldValueNotFound", path, _with_detail(f"Not found: {_shown(value)}", detail))


def not_supported(path: str, value: Any, supported: Iterable[str]) -> FieldError:
    values = ", ".join(go_quote(v) for v in supported)
    return FieldError(
        "FieldValueNotSupported", path, f"Unsupported value: {_shown(value)}: supported values: {values}"
    )


def too_long(path: str, limit: int) -> FieldError:
    return FieldError("FieldValueTooLong", path, f"Too long: may not be more than {limit} bytes")


def too_many(path: str, count: int, limit: int) -> FieldError:
    items = "item" if limit == 1 else "items"
    return FieldError("FieldValueTooMany", path, f"Too many: {count}: must have at most {limit} {items}")


def nonnegative(path: str, value: int | None) -> list[FieldError]:
    """An error if the (optional) value is below zero."""
    return [invalid(path, value, NOT_NEGATIVE)] if value is not None and value < 0 else []


def immutable(path: str, new: Any, old: Any) -> list[FieldError]:
    """An error if the value changed."""
    return [invalid(path, new, IMMUTABLE)] if new != old else []
