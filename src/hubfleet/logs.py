"""Structured logs on standard error: lines for people on a terminal, else one JSON object a line.

Secrets are taken out of everything that is logged, ours and other libraries': by the name of a key, and by
the look of a text. Tracebacks go without local variables, where tokens live.
"""

import logging
import re
import sys
from collections.abc import Mapping
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from hubfleet.settings import LogSettings

HIDDEN = "***"

_SECRET_KEY = re.compile(r"authorization|token|password|passwd|secret|cookie|credential|api_?key", re.I)
_SECRET_TEXT = re.compile(
    r"""(?P<scheme>\b(?:token|bearer|basic)\s+)[^\s"',;]{8,}   # a header's value
    | (?P<name>[?&;]\w*(?:token|password|secret)\w*=)[^&\s"']+  # a query's
    | (?<!sha256:)\b[0-9a-fA-F]{32,}\b                         # a token of JupyterHub, and no image's digest
    | \beyJ[\w-]{8,}\.[\w-]+\.[\w-]*                           # a JSON Web Token""",
    re.I | re.X,
)

_FLAT = (str, int, float, bool, type(None))


def redact_text(text: str) -> str:
    """The text without what looks like a secret."""
    return _SECRET_TEXT.sub(lambda m: (m["scheme"] or m["name"] or "") + HIDDEN, text)


def redact(value: Any, key: str = "") -> Any:
    """The value without secrets, however deep they are."""
    if key and _SECRET_KEY.search(key) and not isinstance(value, bool | int | float):
        return HIDDEN if value else value
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, Mapping):
        return {k: redact(v, str(k)) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(v) for v in value]
    return value if isinstance(value, _FLAT) else redact_text(repr(value))


def _redacting(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {key: redact(value, key) for key, value in event.items()}


def processors(settings: LogSettings, *, terminal: bool) -> tuple[list[Processor], list[Processor]]:
    """What every event runs through, and what makes a line of it at the end."""
    common: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    line: Processor
    if settings.format == "console" or (settings.format == "auto" and terminal):
        line = structlog.dev.ConsoleRenderer(colors=terminal)
    else:
        line = structlog.processors.JSONRenderer()
    clean = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    # The exception becomes text first, so that what its message quotes is redacted with the rest.
    return common, [clean, structlog.processors.format_exc_info, _redacting, line]


def configure(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Sets up structlog and the standard library's logging for this process."""
    stream = sys.stderr if stream is None else stream
    common, last = processors(settings, terminal=stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=common, processors=last, use_get_message=True)
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *common,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
