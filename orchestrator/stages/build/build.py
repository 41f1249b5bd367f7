"""Build: one derivation into one store path, on a builder, detached from us.

The build runs on the builder as a unit of its own, with its log and exit code on
disk. A dead connection, worker or controller doesn't stop it; a later attempt
attaches to it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from inventory.copying import Caches
from orchestrator import nix
from orchestrator.command import LAST_LINES, Command, printable
from orchestrator.errors import BuilderError, CommandError, StageError, UnreachableError
from orchestrator.hints import hint_for
from orchestrator.model.report import BuildReport
from orchestrator.model.stage import Stage
from orchestrator.model.store import store_hash
from orchestrator.scripts import ScriptExit, answer_of, marked, parse_answer, script, sent
from orchestrator.stages.build.failure import trouble_of_builder
from orchestrator.transport.shell import LOST, follow

if TYPE_CHECKING:
    from orchestrator.command import CommandResult
    from orchestrator.model.plan import Build
    from orchestrator.model.store import DerivationPath
    from orchestrator.transport.shell import Shell


SILENCE_SECONDS = 20.0
"""Without a sign from build.sh for so long, which gives one every two seconds, a
builder counts as hung, though its connection may be up."""


@dataclass(slots=True)
class BuildLog:
    """What has been heard of one build so far; kept from one attachment to the next.

    Args:
        on_line: hears each line of Nix's log, once.
        shown: bytes of the log that were heard.
        seconds: how long the build took, by its builder; None until it ended.
        code: how nix-store ended there; None until it did.
        was_valid: whether there was nothing to build.
        said: the last line that the script itself has answered.
        recent: the last lines.
        heard_at: when the last sign came, by the monotonic clock.
    """

    on_line: Callable[[str], None]
    shown: int = 0
    seconds: float | None = None
    code: int | None = None
    was_valid: bool = False
    said: str = ""
    recent: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))
    heard_at: float = field(default_factory=time.monotonic)

    def hear(self, line: str) -> None:
        """Take a line of build.sh: one of its own, or one of the log."""
        self.heard_at = time.monotonic()
        if (answered := marked(line)) is not None:
            self.said = line
            self._hear_answer(*answered)
        elif line:
            shown = printable(line)
            self.recent.append(shown)
            self.on_line(shown)

    def _hear_answer(self, key: str, value: str) -> None:
        if key == "shown":
            self.shown = int(value)
        elif key == "seconds":
            started, ended = value.split()
            self.seconds = float(ended) - float(started)
        elif key == "code":
            self.code = int(value)
        elif key == "valid":
            self.was_valid = True


def build_command(build: Build, shown: int = 0, caches: Caches = Caches()) -> Command:  # noqa: B008 - frozen
    """Build the command that starts or joins the build, and follows it.

    Args:
        build: what to build.
        shown: bytes of its log that were heard already.
        caches: what the builder takes from elsewhere.
    """
    return script(
        "stages/build/build.sh",
        *nix.as_options(nix.cache_settings(caches)),
        derivation=build.derivation,
        hash=store_hash(build.derivation),
        output=build.output,
        shown=str(shown),
        body=sent("stages/build/build_body.sh"),
    )


async def build(
    shell: Shell,
    build: Build,
    log: BuildLog,
    caches: Caches = Caches(),  # noqa: B008 - frozen
) -> BuildReport:
    """Build a derivation on the builder behind `shell`.

    Args:
        shell: the builder; it has the derivation's closure already.
        build: what to build.
        log: what was heard of it, and who hears the rest.
        caches: what the builder takes from elsewhere.

    Raises:
        UnreachableError: the connection broke, or the builder hangs; the build
            may go on without us.
        BuilderError: the builder can't do it, and another one may.
        CommandError: the build itself failed, and would everywhere.
    """
    started = time.monotonic()
    log.heard_at, log.code, log.said = started, None, ""
    result = await _follow_while_it_answers(shell, build_command(build, log.shown, caches), log)
    end = parse_answer(log.said, result.returncode).end
    if end is ScriptExit.DONE and (log.was_valid or log.code == 0):
        return BuildReport(
            derivation=build.derivation,
            output=build.output,
            builder=shell.host,
            seconds=log.seconds if log.seconds is not None else time.monotonic() - started,
            was_valid=log.was_valid,
        )
    if result.returncode == LOST:
        raise UnreachableError(
            message=f"the connection to builder {shell.host} broke; the build goes on there",
            hint="run the same command again: it attaches to the build",
            host=shell.host,
            stage=Stage.BUILD,
        )
    raise _build_failed(build, result, end, log)


async def stop_build(shell: Shell, derivation: DerivationPath) -> None:
    """End a build that runs detached on the builder behind `shell`.

    Raises:
        CommandError: it can't be ended.
    """
    stop = script("stages/build/stop_build.sh", hash=store_hash(derivation), timeout=30)
    answer_of(await shell.run(stop), Stage.BUILD, "the build can't be stopped")


async def _follow_while_it_answers(shell: Shell, command: Command, log: BuildLog) -> CommandResult:
    following = asyncio.ensure_future(follow(shell, command, log.hear))
    try:
        while True:
            done, _ = await asyncio.wait({following}, timeout=SILENCE_SECONDS / 4)
            if done:
                return following.result()
            if time.monotonic() - log.heard_at > SILENCE_SECONDS:
                raise UnreachableError(
                    message=f"builder {shell.host} hangs: no sign for {SILENCE_SECONDS:g} s",
                    hint="look at its load and its disk",
                    host=shell.host,
                    stage=Stage.BUILD,
                )
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


def _build_failed(
    build: Build, result: CommandResult, end: ScriptExit | None, log: BuildLog
) -> StageError:
    builder = result.host
    # An end of the script's own says nothing of nix-store, whose code is an answer.
    code = log.code if end is ScriptExit.DONE and log.code is not None else result.returncode
    said = (*log.recent, *result.stderr.splitlines())[-LAST_LINES:]
    failed = end.sentence if end else ""
    trouble = trouble_of_builder(code, said) if end in (None, ScriptExit.DONE) else failed
    if trouble:
        hint = end.hint if end else ""
        return BuilderError(
            message=f"builder {builder} can't build it: {trouble}",
            hint=hint_for("\n".join(said)) or hint or f"look at {builder}",
            host=builder,
            stage=Stage.BUILD,
            last_lines=said,
        )
    return CommandError(
        message=f"the build failed (exit code {code}), on {builder}, for {', '.join(build.hosts)}",
        hint=hint_for("\n".join(said)) or f"on {builder}: nix log {build.derivation}",
        host=builder,
        stage=Stage.BUILD,
        command=Command(("nix-store", "--realise", build.derivation)).line(),
        last_lines=said,
    )
