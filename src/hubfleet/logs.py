"""Structured logs on standard error: lines for people on a terminal, else one JSON object a line.

Secrets are taken out of everything that is logged, ours and other libraries': by the name of a key, and by
the look of a text. Tracebacks go without local variables, where tokens live.
"""

import json
import logging
import re
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from hubfleet.settings import LogSettings

HIDDEN = "***"

_SECRET_KEY = re.compile(r"authorization|token|password|passwd|secret|cookie|credential|api_?key", re.I)
_SECRET_TEXT = re.compile(
    r"""(?P<scheme>\b(?:token|bearer|basic)\s+)[^\s"',;]{8,}   # a header's value
    | (?P<query>[?&;]\w*(?:token|password|secret)\w*=)[^&\s"']+  # a query's
    | (?P<name>(?:token|password|secret)\w{0,40}["']?[ \t]*[=:][ \t]*)   # what a program prints
      (?:"[^"\n]*"|'[^'\n]*'|\S+)
    | (?<!sha256:)\b[0-9a-fA-F]{32,}\b                         # a token of JupyterHub, and no image's digest
    | \beyJ[\w-]{8,}\.[\w-]+\.[\w-]*                           # a JSON Web Token""",
    re.I | re.X,
)

_SHORTEST = len("token=a")
"""No text that is shorter can hold what looks like a secret."""

_FLAT = (str, int, float, bool, type(None))


def redact_text(text: str) -> str:
    """The text without what looks like a secret."""
    if len(text) < _SHORTEST:
        return text
    return _SECRET_TEXT.sub(lambda m: (m["scheme"] or m["query"] or m["name"] or "") + HIDDEN, text)


@lru_cache(maxsize=1024)
def _is_secret(key: str) -> bool:
    return _SECRET_KEY.search(key) is not None


def redact(value: Any, key: str = "") -> Any:
    """The value without secrets, however deep they are."""
    if key and _is_secret(key) and not isinstance(value, bool | int | float):
        return HIDDEN if value else value
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, Mapping):
        return {str(k): redact(v, str(k)) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(v) for v in value]
    return value if isinstance(value, _FLAT) else redact_text(repr(value))


def _redacting(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {key: redact(value, key) for key, value in event.items()}


class _Writer:
    """Where our own events end; through the standard library's logging each costs three times as much."""

    def __init__(self, stream: TextIO, name: str):
        self.name = name
        self._stream = stream

    def msg(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()

    debug = info = warning = error = critical = msg


def _to_json(_: WrappedLogger, __: str, event: EventDict) -> str:
    try:
        return msgspec.json.encode(event).decode()
    except (ValueError, TypeError, OverflowError):  # half a surrogate pair, an integer of more than 64 bits
        return json.dumps(event, default=repr)


def configure(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Sets up structlog, and the standard library's logging for others, in this process."""
    stream = sys.stderr if stream is None else stream
    line: Processor = _to_json
    if settings.format == "console" or (settings.format == "auto" and stream.isatty()):
        line = structlog.dev.ConsoleRenderer(colors=stream.isatty())
    begin: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # The exception becomes text first, so that what its message quotes is redacted with the rest.
    end: list[Processor] = [structlog.processors.format_exc_info, _redacting, line]
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    handler = logging.StreamHandler(stream)
    clean = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=begin, processors=[clean, *end])
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    structlog.configure(
        processors=[*begin, *end],
        logger_factory=lambda *names: _Writer(stream, names[0] if names else "hubfleet"),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
