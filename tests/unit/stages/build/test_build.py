"""build.sh for real, with a nix-store that is a script: the lab has the real Nix."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from inventory.copying import Caches
from orchestrator.command import Command
from orchestrator.errors import BuilderError, CommandError
from orchestrator.model.plan import Build
from orchestrator.model.store import parse_derivation_path, parse_store_path
from orchestrator.scripts import Answer, ScriptExit, parse_answer
from orchestrator.stages.build.build import BuildLog, build, build_command, stop_build
from orchestrator.transport.shell import LocalShell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from orchestrator.command import CommandResult
    from orchestrator.transport.shell import Stream

NAME = "0123456789abcdfghijklmnpqrsvwxyz"
BUILD = Build(
    derivation=parse_derivation_path(f"/nix/store/{NAME}-llama-cpp.drv"),
    output=parse_store_path(f"/nix/store/{NAME}-llama-cpp"),
    builder="boron",
    fallbacks=(),
    features=(),
    hosts=("carbon", "beryllium"),
    reason="",
)

# Waits until the test lets it end, and ends as the test says.
NIX_STORE = """#!/bin/sh
echo "$@" >>"$FAKE/calls"
echo $$ >"$FAKE/pid"
echo "building the first part" >&2
while [ ! -e "$FAKE/go" ]; do sleep 0.05; done
echo "the last line" >&2
exit "$(cat "$FAKE/code" 2>/dev/null || echo 0)"
"""


@dataclass(frozen=True)
class Builder:
    """A builder in a directory, with its own HOME, PATH and nix-store."""

    directory: Path

    def here(self, command: Command) -> Command:
        """Give a command with this builder's HOME, PATH and state directory."""
        # Root's state is in /var; a test stays in its directory.
        text = command.argv[2].replace("/var/lib/orchestrate", f"{self.directory}/var")
        path = f"{self.directory}/bin:{os.environ['PATH']}"
        environment = (("PATH", path), ("FAKE", str(self.directory)), ("HOME", str(self.directory)))
        # Its store has the output once the test says "valid".
        valid = str(self.directory / "valid")
        arguments = (
            part.replace(f"output={BUILD.output}", f"output={valid}") for part in command.argv[3:]
        )
        return Command((*command.argv[:2], text, *arguments), environment=environment)

    @property
    def host(self) -> str:
        """Its name, as a shell has one."""
        return "boron"

    def as_root(self, command: Command) -> Command:
        """Return the command itself."""
        return command

    async def run_as_root(self, command: Command) -> CommandResult:
        """Run on this builder."""
        return await self.run(command)

    async def run(self, command: Command) -> CommandResult:
        """Run on this builder."""
        return await LocalShell(self.host).run(self.here(command))

    def open(self, command: Command) -> AbstractAsyncContextManager[Stream]:
        """Start on this builder."""
        return LocalShell(self.host).open(self.here(command))

    @contextmanager
    def follower(self) -> Iterator[subprocess.Popen[str]]:
        """Start one that follows the build; it is killed at the end if it still runs."""
        words = self.here(build_command(BUILD)).words()
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield process
            finally:
                process.kill()

    def say(self, name: str, text: str = "") -> None:
        """Put a sign for the fake nix-store."""
        (self.directory / name).write_text(text)

    def calls(self) -> list[str]:
        """Give what nix-store was asked to realise."""
        file = self.directory / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def pid(self) -> int:
        """Wait for the build to run, and give its process."""
        file = self.directory / "pid"
        wait_for(lambda: file.exists() and file.read_text().strip() != "")
        return int(file.read_text())


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def builder(tmp_path: Path) -> Iterator[Builder]:
    """Make a builder, and end its build when the test is over."""
    if Path("/run/systemd/system").exists() and os.getuid() == 0:
        pytest.skip("as root under systemd the build is a unit of the machine's own")
    directory = tmp_path / "bin"
    directory.mkdir()
    (directory / "nix-store").write_text(NIX_STORE)
    (directory / "nix-store").chmod(0o755)
    yield Builder(tmp_path)
    (tmp_path / "go").touch()


def ended(follower: subprocess.Popen[str]) -> Answer:
    """Wait for the end of one that follows, and read its answer."""
    said, _ = follower.communicate(timeout=10)
    return parse_answer(said, follower.returncode)


def test_a_build_is_started_and_followed(builder: Builder) -> None:
    """The log comes line by line, and the exit code is Nix's."""
    with builder.follower() as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline() == "building the first part\n"
        assert follower.poll() is None
        builder.say("go")
        rest = follower.stdout.read().splitlines()
        assert [line for line in rest if not line.startswith("orchestrate:")] == ["the last line"]
        assert rest[-3].startswith("orchestrate:seconds=")
        assert rest[-2:] == ["orchestrate:code=0", "orchestrate:exit=0"]
        assert follower.wait(10) == 0
    assert len(builder.calls()) == 1
    assert re.search(rf"--realise .*--add-root result {BUILD.derivation}$", builder.calls()[0])


def test_caches_reach_nix(builder: Builder) -> None:
    """The caches of a builder and their keys are nix-store's options."""
    builder.say("go")
    caches = Caches(("https://cache.example.org",), (f"cache-1:{'A' * 43}=",))
    asyncio.run(build(builder, BUILD, BuildLog(print), caches))
    call = builder.calls()[0]
    assert "--option extra-substituters https://cache.example.org" in call
    assert f"--option extra-trusted-public-keys cache-1:{'A' * 43}=" in call


def test_a_stopped_build_is_over(builder: Builder) -> None:
    """Whoever cancels ends the build itself, not only who follows it."""
    with builder.follower() as follower:
        pid = builder.pid()
        asyncio.run(stop_build(builder, BUILD.derivation))
        answer = ended(follower)
        assert answer.end is ScriptExit.BUILD_DIED or answer.get("code") == "143"
    wait_for(lambda: not Path(f"/proc/{pid}").exists())


def test_a_second_caller_joins(builder: Builder) -> None:
    """Whoever asks while it runs sees the log from its start, and one build is made."""
    with builder.follower() as first:
        builder.pid()
        with builder.follower() as second:
            assert second.stdout is not None
            assert second.stdout.readline() == "building the first part\n"
            builder.say("go")
            assert (first.wait(10), second.wait(10)) == (0, 0)
    assert len(builder.calls()) == 1


def test_a_reader_that_comes_back_goes_on_where_it_was(builder: Builder) -> None:
    """What was heard over a connection that broke is not told again over the next."""
    heard: list[str] = []
    log = BuildLog(heard.append, shown=len("building the first part\n"))
    with builder.follower():
        builder.pid()
        builder.say("go")
        report = asyncio.run(build(builder, BUILD, log))
    assert heard == ["the last line"]
    assert not report.was_valid


def test_two_that_start_at_once_make_one_build(builder: Builder) -> None:
    """Several that begin in the same moment share one build."""
    with builder.follower() as one, builder.follower() as two, builder.follower() as three:
        builder.pid()
        time.sleep(0.3)
        builder.say("go")
        codes = [follower.wait(10) for follower in (one, two, three)]
    assert codes == [0, 0, 0]
    assert len(builder.calls()) == 1


def test_a_killed_follower_leaves_the_build(builder: Builder) -> None:
    """A connection that dies ends who follows, not who builds."""
    with builder.follower() as first:
        pid = builder.pid()
        first.send_signal(signal.SIGKILL)
        first.wait(10)
    os.kill(pid, 0)
    with builder.follower() as second:
        assert second.stdout is not None
        assert second.stdout.readline() == "building the first part\n"
        builder.say("go")
        assert second.wait(10) == 0
    assert len(builder.calls()) == 1


def test_a_killed_build_is_noticed(builder: Builder) -> None:
    """A build that ends without an exit code has died, and is not waited for."""
    with builder.follower() as follower:
        nix_store = builder.pid()
        os.killpg(os.getpgid(nix_store), signal.SIGKILL)
        assert ended(follower).end is ScriptExit.BUILD_DIED


def test_a_killed_build_is_its_builders_trouble(builder: Builder) -> None:
    """The stage says that it was killed there, so that another builder may try."""
    with ThreadPoolExecutor(1) as thread:
        building = thread.submit(lambda: asyncio.run(build(builder, BUILD, BuildLog(print))))
        os.killpg(os.getpgid(builder.pid()), signal.SIGKILL)
        with pytest.raises(BuilderError, match="was killed before its end") as caught:
            building.result(timeout=20)
    assert caught.value.hint == ScriptExit.BUILD_DIED.hint


def test_a_builder_without_room_for_its_state_is_told_of(builder: Builder) -> None:
    """A state that can't be written is the builder's trouble, and not the build's."""
    for directory in ("var", ".local"):
        (builder.directory / directory).touch()
    with pytest.raises(BuilderError, match="can't be written there"):
        asyncio.run(build(builder, BUILD, BuildLog(print)))


def test_a_failed_build_is_tried_again(builder: Builder) -> None:
    """What an earlier build left behind is not taken for this one's end."""
    builder.say("go")
    builder.say("code", "1")
    with builder.follower() as follower:
        assert ended(follower).get("code") == "1"
    builder.say("code", "0")
    with builder.follower() as follower:
        assert ended(follower).get("code") == "0"
    assert len(builder.calls()) == 2


def test_a_failure_says_what_nix_said(builder: Builder) -> None:
    """The stage's error has Nix's exit code and the end of its log, for all its hosts."""
    builder.say("go")
    builder.say("code", "102")
    heard: list[str] = []
    with pytest.raises(CommandError) as caught:
        asyncio.run(build(builder, BUILD, BuildLog(heard.append)))
    assert heard == ["building the first part", "the last line"], str(caught.value)
    assert caught.value.last_lines == tuple(heard)
    assert "exit code 102" in caught.value.message
    assert "carbon, beryllium" in caught.value.message
    assert caught.value.hint == f"on boron: nix log {BUILD.derivation}"


def test_what_is_there_is_not_built(builder: Builder) -> None:
    """A valid output is said to be so, held against the garbage collector, without a build."""
    builder.say("valid")
    builder.say("go")
    report = asyncio.run(build(builder, BUILD, BuildLog(print)))
    assert report.was_valid
    (call,) = builder.calls()
    assert (call.split()[:2], call.split()[-1]) == (
        ["--realise", "--add-root"],
        str(builder.directory / "valid"),
    )
