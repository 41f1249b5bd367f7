"""Build: one derivation into one store path, on a builder, detached from us.

The build runs on the builder as a unit of its own, with its log and exit code on
disk. A dead connection, worker or controller doesn't stop it; a later attempt
attaches to it.
"""

from __future__ import annotations

import time
from collections import deque
from importlib.resources import files
from typing import TYPE_CHECKING

from orchestrator.command import LAST_LINES, Command, script
from orchestrator.errors import CommandError, StageError, UnreachableError
from orchestrator.hints import hint_for
from orchestrator.model.report import BuildReport
from orchestrator.model.store import store_hash
from orchestrator.transport.shell import LOST, follow

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.model.plan import Build
    from orchestrator.transport.shell import Shell

STAGE = "build"

# Exit codes of build.sh beside Nix's own: 1, and 100 to 107 for builds that fail
# (nix-store-realise(1), "Special exit codes").
_WAS_VALID = 75
_NO_STATE = 73
_DIED = 74


def build_command(build: Build) -> Command:
    """Give the command that starts or joins the build, and follows it."""
    text = files("orchestrator.stages").joinpath("build.sh").read_text()
    return script(text, build.derivation, store_hash(build.derivation), build.output)


async def build(shell: Shell, build: Build, on_line: Callable[[str], None]) -> BuildReport:
    """Build a derivation on the builder behind `shell`.

    Args:
        shell: the builder; it has the derivation's closure already.
        build: what to build.
        on_line: hears each line of Nix's log.

    Raises:
        UnreachableError: the connection broke; the build goes on without us.
        StageError: the build itself failed.
    """
    recent: deque[str] = deque(maxlen=LAST_LINES)

    def hear(line: str) -> None:
        recent.append(line)
        on_line(line)

    started = time.monotonic()
    result = await follow(shell, build_command(build), hear)
    if result.returncode in (0, _WAS_VALID):
        return BuildReport(
            derivation=build.derivation,
            output=build.output,
            builder=shell.host,
            seconds=time.monotonic() - started,
            was_valid=result.returncode == _WAS_VALID,
        )
    if result.returncode == LOST:
        raise UnreachableError(
            message=f"the connection to builder {shell.host} broke; the build goes on there",
            hint="run the same command again: it attaches to the build",
            host=shell.host,
            stage=STAGE,
        )
    raise _build_failed(shell.host, build, result.returncode, tuple(recent), result.stderr)


def _build_failed(
    builder: str, build: Build, code: int, recent: tuple[str, ...], stderr: str
) -> StageError:
    what = {
        _NO_STATE: "the build can't be started",
        _DIED: "the build was killed before its end",
    }.get(code, f"the build failed (exit code {code})")
    said = (*recent, *stderr.splitlines())[-LAST_LINES:]
    return CommandError(
        message=f"{what}, on {builder}, for {', '.join(build.hosts)}",
        hint=hint_for("\n".join(said)) or f"on {builder}: nix log {build.derivation}",
        host=builder,
        stage=STAGE,
        command=Command(("nix-store", "--realise", build.derivation)).line(),
        last_lines=said,
    )
