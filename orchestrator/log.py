"""The program's own log: structlog, one JSON object a line, secrets left out.

Every line carries run, host and stage if there are any. What a user reads
are the events and errors; this is for the maintainer who reads afterwards.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from pathlib import Path

    from structlog.typing import EventDict, WrappedLogger

_SECRET_KEY = re.compile(r"password|passphrase|secret|token$|private_key|credential", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(\w+://[^:/@\s]*:)[^/\s]+@")


_hidden: set[str] = set()


def hide(secret: str) -> None:
    """Blank this text wherever the log of this process would hold it."""
    if secret:
        _hidden.add(secret)


def configure_log(file: Path) -> None:
    """Send this process's log to `file`, appending.

    The directory is the user's alone: the log names hosts and paths.
    """
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # An exception's text may hold a URL: it is formatted, then redacted.
            structlog.processors.format_exc_info,
            redact,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=file.open("a", encoding="utf-8")),
        cache_logger_on_first_use=True,
    )
    # What libraries warn of goes there too, and not between the lines that a user reads.
    logging.basicConfig(handlers=[_Handed()], level=logging.WARNING, force=True)


class _Handed(logging.Handler):
    """Hands what a library logs to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record, with its traceback if it has one."""
        try:
            structlog.get_logger().log(
                record.levelno,
                record.getMessage(),
                library=record.name,
                exc_info=record.exc_info,
            )
        except Exception:  # noqa: BLE001 - as logging wants it: a full disk is not the library's fault
            self.handleError(record)


def redact(_logger: WrappedLogger, _method: str, entry: EventDict) -> EventDict:
    """Blank values whose key says secret, passwords inside URLs, and known secrets."""
    return {key: _redacted(key, value) for key, value in entry.items()}


def _redacted(key: str, value: object) -> object:
    if _SECRET_KEY.search(key):
        return "[redacted]"
    if isinstance(value, dict):
        return {inner: _redacted(str(inner), item) for inner, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_redacted(key, item) for item in value]
    return _blanked(value) if isinstance(value, str) else value


def _blanked(text: str) -> str:
    # The longest first: a secret may be a part of another one.
    for secret in sorted(_hidden, key=len, reverse=True):
        text = text.replace(secret, "[redacted]")
    return _URL_PASSWORD.sub(r"\1[redacted]@", text)
