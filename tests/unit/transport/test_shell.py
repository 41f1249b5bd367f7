"""Real processes on this machine, behind the interface that the stages see."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from orchestrator.command import Command, CommandResult
from orchestrator.errors import CommandError
from orchestrator.transport.shell import TIMED_OUT, LocalShell, follow, pipe

HERE = LocalShell()
MEGABYTE = 1_000_000


def sh(text: str, *arguments: str, timeout: float | None = None) -> Command:
    """Give the command that runs a text by sh."""
    return Command(("sh", "-c", text, "test", *arguments), timeout=timeout)


def run(command: Command) -> CommandResult:
    """Run one command to its end."""
    return asyncio.run(HERE.run(command))


def joined(writer: str, reader: str) -> tuple[CommandResult, CommandResult, list[int]]:
    """Pipe one script into another, and give both results and the progress heard."""
    heard: list[int] = []
    ends = pipe((HERE, sh(writer)), (HERE, sh(reader)), heard.append)

    async def within() -> tuple[CommandResult, CommandResult]:
        return await asyncio.wait_for(ends, 20)

    sent, received = asyncio.run(within())
    return sent, received, heard


def is_running(pid: int) -> bool:
    """Whether a process still does anything: a zombie doesn't."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_what_a_command_says() -> None:
    """Output, error output and exit code come back apart."""
    result = run(sh("echo out; echo err >&2; exit 7"))
    assert (result.stdout, result.stderr, result.returncode) == ("out\n", "err\n", 7)
    assert result.host == "controller"


def test_what_a_command_reads() -> None:
    """Standard input arrives whole, and ends."""
    assert run(Command(("wc", "-c"), stdin=b"x" * MEGABYTE)).stdout.strip() == str(MEGABYTE)


def test_a_command_that_does_not_read() -> None:
    """A megabyte for a command that ends without reading it is no error."""
    assert run(Command(("true",), stdin=b"x" * MEGABYTE)).returncode == 0


def test_bytes_that_are_no_text() -> None:
    """Output that isn't UTF-8 is replaced, not raised."""
    assert run(Command(("printf", "\\377ok"))).stdout == "\ufffdok"


def test_an_environment_is_added() -> None:
    """A command's own variables are there beside ours."""
    result = run(
        Command(("sh", "-c", 'echo "$ONE${PATH:+ and a PATH}"'), environment=(("ONE", "1"),))
    )
    assert result.stdout == "1 and a PATH\n"


def test_a_timeout_kills_the_whole_group(tmp_path: Path) -> None:
    """A command past its time ends with 124, and so do the children it started."""
    pids = tmp_path / "pids"
    text = 'sleep 60 & echo $! >"$1"; echo $$ >>"$1"; wait'
    started = time.monotonic()
    result = run(sh(text, str(pids), timeout=0.5))
    assert time.monotonic() - started < 10
    assert result.returncode == TIMED_OUT
    assert "0.5 seconds" in result.stderr
    deadline = time.monotonic() + 5
    alive = [int(pid) for pid in pids.read_text().split()]
    while alive and time.monotonic() < deadline:
        alive = [pid for pid in alive if is_running(pid)]
    assert not alive


def test_a_timeout_counts_while_writing() -> None:
    """A command that never reads its megabytes is killed for its time all the same."""
    started = time.monotonic()
    command = Command(("sleep", "30"), stdin=b"x" * 8 * MEGABYTE, timeout=0.5)
    assert run(command).returncode == TIMED_OUT
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("program", ["no-such-program-here", "/etc/passwd"])
def test_a_missing_program_is_one_clear_error(program: str) -> None:
    """What can't be started is an error with its name and what to do, not a traceback."""
    with pytest.raises(CommandError, match=program) as caught:
        run(Command((program, "--version")))
    assert caught.value.hint
    assert caught.value.command == f"{program} --version"


def test_leaving_an_open_command_kills_it() -> None:
    """A stream that nobody finishes leaves no process behind."""

    async def leave() -> int:
        async with HERE.open(sh("echo $$; exec sleep 60")) as stream:
            return int(await stream.read(100))

    assert not is_running(asyncio.run(leave()))


def test_a_pipe_moves_every_byte() -> None:
    """The reader gets what the writer wrote, and the progress ends at its size."""
    sent, received, heard = joined(f"head -c {3 * MEGABYTE} /dev/zero", "wc -c")
    assert (sent.returncode, received.returncode) == (0, 0)
    assert received.stdout.strip() == str(3 * MEGABYTE)
    assert heard[-1] == 3 * MEGABYTE
    assert heard == sorted(heard)


def test_a_reader_that_fails_early() -> None:
    """A reader's own failure comes back although the writer had more to say."""
    sent, received, _ = joined("cat /dev/zero", "head -c 10 >/dev/null; echo full >&2; exit 3")
    assert (received.returncode, received.stderr) == (3, "full\n")
    assert sent.returncode != 0


def test_a_writer_that_fails() -> None:
    """A writer's failure comes back, and the reader has what was written before it."""
    sent, received, _ = joined("echo part; echo broken >&2; exit 9", "cat")
    assert (sent.returncode, sent.stderr) == (9, "broken\n")
    assert (received.returncode, received.stdout) == (0, "part\n")


def test_a_flood_of_errors_blocks_nobody() -> None:
    """A megabyte of error output on both sides doesn't stop the data between them."""
    flood = f"head -c {MEGABYTE} /dev/zero | tr '\\0' e >&2"
    sent, received, heard = joined(f"{flood}; head -c {MEGABYTE} /dev/zero", f"{flood}; wc -c")
    assert received.stdout.strip() == str(MEGABYTE)
    assert (len(sent.stderr), len(received.stderr)) == (MEGABYTE, MEGABYTE)
    assert heard[-1] == MEGABYTE


def test_lines_come_as_they_are_printed() -> None:
    """A line is handed over when it is there, not when the command ends."""
    heard: list[tuple[str, float]] = []
    started = time.monotonic()

    def hear(line: str) -> None:
        heard.append((line, time.monotonic() - started))

    result = asyncio.run(follow(HERE, sh("echo one; sleep 1; echo two; exit 5"), hear))
    assert [line for line, _ in heard] == ["one", "two"]
    assert heard[1][1] - heard[0][1] > 0.5
    assert (result.returncode, result.stdout) == (5, "")


def test_lines_are_whole() -> None:
    """A line is handed over as it is, without its CR, and the last one needs no newline."""
    heard: list[str] = []
    text = r"printf 'a\r\n\033[2Jb\nhalf \303'; sleep 0.1; printf '\244 letter'"
    asyncio.run(follow(HERE, sh(text), heard.append))
    assert heard == ["a", "\x1b[2Jb", "half ä letter"]
