"""What a name, a label, a key, a port or a path may look like.

Every check returns messages, none when the value is good; who calls it knows which field it is about.
"""

import ipaddress
import re
from collections.abc import Callable

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_KEY = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"
_HEADER = "[-A-Za-z0-9]+"
_LABEL_LIMIT = 63
_SUBDOMAIN_LIMIT = 253
_KEY_ERROR = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for "
    f"validation is '{_KEY}')"
)

_label = re.compile(_LABEL)
_label_1035 = re.compile(_LABEL_1035)
_subdomain = re.compile(_SUBDOMAIN)
_key = re.compile(_KEY)
_config_key = re.compile(_CONFIG_KEY)
_header = re.compile(_HEADER)
_port_name = re.compile("[-a-z0-9]+")

# Every object has several label keys, nearly all of them good: one match says so.
_good_label_key = re.compile(rf"(?:(?=[^/]{{1,253}}/){_SUBDOMAIN}/)?(?=[^/]{{1,63}}\Z){_KEY}")

# A name, and whether it is only the beginning of one (`generateName`).
NameCheck = Callable[[str, bool], list[str]]


def _too_long(limit: int, unit: str = "characters") -> str:
    return f"must be no more than {limit} {unit}"


def in_range(low: int, high: int) -> str:
    return f"must be between {low} and {high}, inclusive"


def dns_label(value: str) -> list[str]:
    """RFC 1123 label: what namespaces, containers, volumes and hostnames are called."""
    errors = []
    if len(value.encode()) > _LABEL_LIMIT:
        errors.append(_too_long(_LABEL_LIMIT))
    if not _label.fullmatch(value):
        if _subdomain.fullmatch(value):
            errors.append("must not contain dots")
        else:
            errors.append(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and "
                "must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex "
                f"used for validation is '{_LABEL}')"
            )
    return errors


def dns_label_1035(value: str) -> list[str]:
    """RFC 1035 label: what begins with a letter, such as versions and the names of services once had to."""
    errors = []
    if len(value.encode()) > _LABEL_LIMIT:
        errors.append(_too_long(_LABEL_LIMIT))
    if not _label_1035.fullmatch(value):
        errors.append(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an "
            "alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', "
            f"regex used for validation is '{_LABEL_1035}')"
        )
    return errors


def dns_subdomain(value: str) -> list[str]:
    """RFC 1123 subdomain: what most objects are called."""
    errors = []
    if len(value.encode()) > _SUBDOMAIN_LIMIT:
        errors.append(_too_long(_SUBDOMAIN_LIMIT))
    if not _subdomain.fullmatch(value):
        errors.append(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
            "and must start and end with an alphanumeric character (e.g. 'example.com', regex used for "
            f"validation is '{_SUBDOMAIN}')"
        )
    return errors


def _unfinished(value: str, prefix: bool) -> str:
    """A name to be continued may end with a dash."""
    return value[:-2] + "a" if prefix and len(value) > 1 and value.endswith("-") else value


def subdomain_name(value: str, prefix: bool) -> list[str]:
    """The name of an object; with `prefix`, only its beginning."""
    return dns_subdomain(_unfinished(value, prefix))


def label_name(value: str, prefix: bool) -> list[str]:
    return dns_label(_unfinished(value, prefix))


def path_segment_name(value: str, prefix: bool) -> list[str]:
    """What every name must be, whatever its kind: usable as a part of a URL's path."""
    if not prefix and value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{part}'" for part in ("/", "%") if part in value]


def label_key(value: str) -> list[str]:
    """`name` or `prefix/name`: keys of labels, annotations (lower-cased), finalizers, resources."""
    if _good_label_key.fullmatch(value):
        return []
    errors = []
    parts = value.split("/")
    if len(parts) > 2:
        return [
            f"a valid label key {_KEY_ERROR} with an optional DNS subdomain prefix and '/' "
            "(e.g. 'example.com/MyName')"
        ]
    if len(parts) == 2:
        if not parts[0]:
            errors.append("prefix part must be non-empty")
        else:
            errors += [f"prefix part {message}" for message in dns_subdomain(parts[0])]
    name = parts[-1]
    if not name:
        errors.append("name part must be non-empty")
    elif len(name.encode()) > _LABEL_LIMIT:
        errors.append(f"name part {_too_long(_LABEL_LIMIT, 'bytes')}")
    if not _key.fullmatch(name):
        errors.append(f"name part {_KEY_ERROR}")
    return errors


def label_value(value: str) -> list[str]:
    errors = []
    if len(value.encode()) > _LABEL_LIMIT:
        errors.append(_too_long(_LABEL_LIMIT, "bytes"))
    if value and not _key.fullmatch(value):
        errors.append(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
            "and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or "
            f"'12345', regex used for validation is '({_KEY})?')"
        )
    return errors


def config_key(value: str) -> list[str]:
    """Keys of ConfigMaps and Secrets, which become file names."""
    errors = []
    if len(value.encode()) > _SUBDOMAIN_LIMIT:
        errors.append(_too_long(_SUBDOMAIN_LIMIT))
    if not _config_key.fullmatch(value):
        errors.append(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  "
            f"or 'KEY_NAME',  or 'key-name', regex used for validation is '{_CONFIG_KEY}')"
        )
    if value in (".", ".."):
        errors.append(f"must not be '{value}'")
    elif value.startswith(".."):
        errors.append("must not start with '..'")
    return errors


def env_name(value: str) -> list[str]:
    if all(" " <= char <= "~" and char != "=" for char in value):
        return []
    return [
        "a valid environment variable name must consist only of printable ASCII characters other than '='"
    ]


def http_header(value: str) -> list[str]:
    if _header.fullmatch(value):
        return []
    return [
        "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex "
        f"used for validation is '{_HEADER}')"
    ]


def port_number(value: int) -> list[str]:
    return [] if 1 <= value <= 65535 else [in_range(1, 65535)]


def port_name(value: str) -> list[str]:
    errors = []
    if len(value.encode()) > 15:
        errors.append(_too_long(15))
    if not _port_name.fullmatch(value):
        errors.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", value):
        errors.append("must contain at least one letter (a-z)")
    if "--" in value:
        errors.append("must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        errors.append("must not begin or end with a hyphen")
    return errors


def user_or_group(value: int) -> list[str]:
    """A Unix uid or gid: 32 bits, unsigned."""
    return [] if 0 <= value <= 0xFFFFFFFF else [in_range(0, 0xFFFFFFFF)]


def ip_address(value: str) -> list[str]:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
    return []


def no_backsteps(path: str) -> list[str]:
    return ["must not contain '..'"] if ".." in path.split("/") else []


def descending_path(path: str) -> list[str]:
    """A path that stays below where it starts."""
    absolute = ["must be a relative path"] if path.startswith("/") else []
    return absolute + no_backsteps(path)


def file_path(path: str) -> list[str]:
    """A path for a file of a volume; names that begin with two dots are the kubelet's own."""
    errors = descending_path(path)
    if path.startswith("..") and not path.startswith("../") and path != "..":
        errors.append("must not start with '..'")
    return errors
