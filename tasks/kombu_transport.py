"""Kombu's Redis transport, which outlives what is no message.

Celery refuses a task that it doesn't know, but bytes that kombu can't read, or
that make Celery stumble over their headers, end its worker; and with late
acknowledgement they come back to end the next one.
"""

from __future__ import annotations

from queue import Empty
from typing import TYPE_CHECKING, Any

import redis
import structlog
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis

if TYPE_CHECKING:
    from kombu.transport.virtual import Message

log = structlog.get_logger()

_SHOWN = 200
"""How much of an error goes to the log: some repeat the whole message."""


class QoS(kombu_redis.QoS):
    """Remembers what was delivered last, so that it can be refused."""

    last: str | None = None

    def append(self, message: Message, delivery_tag: str) -> None:
        """Take a message that is delivered and not yet acknowledged."""
        super().append(message, delivery_tag)
        self.last = delivery_tag


class Channel(kombu_redis.Channel):
    """Drops for good, with a line in the log, what can't be delivered."""

    QoS = QoS
    qos: Any

    def _brpop_read(self, **options: Any) -> Any:  # noqa: ANN401 - kombu's
        """Deliver a message of a queue."""
        self.qos.last = None
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except Exception as error:
            if not _is_of_the_message(error):
                raise
            log.exception("message refused", error=str(error)[:_SHOWN])
            if self.qos.last is not None:
                self.basic_reject(self.qos.last, requeue=False)
            return True


def _is_of_the_message(error: Exception) -> bool:
    """Whether a message is at fault, and not the connection or the server."""
    if isinstance(error, redis.DataError):
        # The client's own: a value that Redis has no type for.
        return True
    return not isinstance(error, (Empty, redis.RedisError, OSError))


class Transport(kombu_redis.Transport):
    """Kombu's, with our channel."""

    Channel = Channel


def register_transport() -> None:
    """Make kombu use it for every Redis URL of this process."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:{Transport.__name__}"
