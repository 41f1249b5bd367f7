"""The moments of a deployment: how to make one last, and how to know that it has come."""

from __future__ import annotations

import json
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from typing import TYPE_CHECKING, Any

from tests.fleet.fleet import Fleet, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.fleet.fleet import Deployment
    from tests.lab import Host
    from tests.lab.fleet_flake import Fault

NAME = "carbon"

_number = count()

PATIENCE_SECONDS = 60

# Notes what was done of the new system since the host booted, and does then what lies
# there for it.
HOOKED = """
    system.activationScripts.hook = ''
      mkdir -p /run/faults/{token}
      echo test >>/run/faults/{token}/done
      [ ! -x /run/faults/{token}/test ] || /run/faults/{token}/test
    '';
    boot.loader.systemd-boot.extraInstallCommands = ''
      mkdir -p /run/faults/{token}
      echo confirm >>/run/faults/{token}/done
      [ ! -x /run/faults/{token}/confirm ] || /run/faults/{token}/confirm
    '';
"""
SLOW_BUILD = """
    environment.etc.slow.source =
      pkgs.runCommand "slow-on-purpose" {{ }} "echo it begins; sleep 3; echo {token} >$out";
"""
PAYLOAD = """
    environment.etc.payload.source =
      pkgs.runCommand "payload" {{ }} "head -c 8000000 /dev/urandom >$out; echo {token} >>$out";
"""


class Moment(StrEnum):
    """When a fault strikes, in the words of the matrix."""

    BUILD = "build"
    COPY = "copy"
    TEST = "test"
    SMOKE = "smoke"
    CONFIRM = "confirm"

    @property
    def stage(self) -> str:
        """The stage whose events tell of it."""
        return {"copy": "copy_closure", "test": "switch"}.get(self.value, self.value)

    @property
    def is_hooked(self) -> bool:
        """Whether it is in what the new system does itself: its activation, its boot loader."""
        return self in (Moment.TEST, Moment.CONFIRM)

    @property
    def slows(self) -> str:
        """What makes the new system's build or copy last."""
        return {"build": SLOW_BUILD, "copy": PAYLOAD}.get(self.value, "")


@dataclass(frozen=True)
class Attempt:
    """One deployment that is to be struck.

    Args:
        fleet: with the limits that it is deployed by.
        token: in the new system's scripts, and in no other system's.
        moment: when.
    """

    fleet: Fleet
    token: str
    moment: Moment

    @property
    def host(self) -> Host:
        """The one host that is deployed to."""
        return self.fleet[NAME]

    @property
    def done(self) -> list[str]:
        """What was done of the new system since the host booted: `test`, `confirm`."""
        return self.host.shell(f"cat /run/faults/{self.token}/done 2>/dev/null || true").split()

    def hook(self, script: str) -> None:
        """Have the new system do something at the moment, after it says that it has come."""
        directory = f"/run/faults/{self.token}"
        text = f"#!/bin/sh\ntouch {directory}/at-{self.moment}\n{script}\n"
        hook = f"{directory}/{self.moment}"
        self.host.exec("mkdir", "-p", directory)
        self.host.exec("tee", hook, stdin=text)
        self.host.exec("chmod", "+x", hook)

    def deploying(self) -> Deploying:
        """Start the deployment, also of what failed a smoke before."""
        process = self.fleet.start("deploy", NAME, "--json", "--again")
        return Deploying(self, process, [])

    def runs(self, system: str) -> bool:
        """Whether a system's path is the new one."""
        snippet = f"{system}/activation-snippets/hook"
        return self.host.exec("grep", "-q", self.token, snippet, check=False).returncode == 0


def attempt(
    fleet: Fleet,
    moment: Moment,
    variables: Mapping[str, Any] | None = None,
    llama: Fault = "held",
    extra: str = "",
) -> Attempt:
    """Change the flake so that its next deployment lasts at a moment.

    Args:
        fleet: to deploy to.
        moment: which is to last; the rest goes as fast as ever.
        variables: of the inventory, besides those that slow the copy.
        llama: how the new llama.cpp is bad; `held` is not.
        extra: what the new system's module has besides.
    """
    token = f"attempt-{next(_number)}"
    slowed = (HOOKED + moment.slows).format(token=token)
    module = f"  {{ pkgs, ... }}: {{{slowed}{extra}  }}\n"
    copies = {"orchestrate_copy_bandwidth_mbit": 16} if moment is Moment.COPY else {}
    route = {"orchestrate_copy_route": "relay"} if moment is Moment.COPY else {}
    limited = fleet.with_vars({**copies, **(variables or {})}, {NAME: route})
    limited.change(broken={NAME: llama}, extra={NAME: module})
    return Attempt(limited, token, moment)


@contextmanager
def at_its_moment(begun: Attempt, seconds: float = 4) -> Iterator[Deploying]:
    """Deploy until the moment has come, which lasts for `seconds` or for the context."""
    moment, host = begun.moment, begun.host
    if moment.is_hooked:
        begun.hook(f"sleep {seconds}")
    if moment is Moment.SMOKE:
        host.shell("rm -f /run/llama-cli-is-held; touch /run/hold-llama-cli")
    deploying = begun.deploying()
    process = deploying.process
    try:
        deploying.read_until(deploying.has_come)
        if moment.is_hooked:
            wait_until(lambda: _exists(host, f"/run/faults/{begun.token}/at-{moment}"))
        if moment is Moment.SMOKE:
            wait_until(lambda: _exists(host, "/run/llama-cli-is-held"))
        yield deploying
    finally:
        if host.is_on:
            host.exec("rm", "-f", "/run/hold-llama-cli", check=False)
        if process.poll() is None:
            process.kill()
            process.communicate()


@dataclass(frozen=True)
class Deploying:
    """A deployment that goes on, and what it has said until now."""

    attempt: Attempt
    process: subprocess.Popen[str]
    lines: list[str]

    @property
    def run(self) -> str:
        """The run's id."""
        return str(json.loads(self.lines[-1])["run"])

    def has_come(self, event: dict[str, Any]) -> bool:
        """Whether an event says that the moment has come."""
        moment = self.attempt.moment
        if event["stage"] != moment.stage:
            return False
        if moment is Moment.BUILD:
            return "it begins" in event.get("line", "")
        if moment is Moment.COPY:
            return bool(event.get("bytes", 0) > 1_000_000)
        return bool(event["event"] == "stage_started")

    def read_until(self, told: Callable[[dict[str, Any]], bool]) -> None:
        """Read events until one is as wanted."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if line.startswith("{") and told(json.loads(line)):
                return
        _, said = self.process.communicate()
        message = f"the command ended before its moment: {''.join(self.lines[-3:])}\n{said}"
        raise AssertionError(message)

    def end(self, timeout: float = 150) -> Deployment:
        """Wait for the command's end and read all that it said."""
        output, said = self.process.communicate(timeout=timeout)
        return parse("".join(self.lines) + output, self.process.returncode, said)


def _exists(host: Host, path: str) -> bool:
    return host.exec("test", "-e", path, check=False).returncode == 0


def wait_until(done: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until something is so on a host."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.1)
