"""Reboot: kernel, initrd and drivers of a system that stays are in use after it only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.errors import StageError
from orchestrator.model.boot_part import BootPart
from orchestrator.model.stage import Stage
from orchestrator.scripts import ScriptExit, answer_of, program, read, script
from orchestrator.transport.shell import LOST

if TYPE_CHECKING:
    from orchestrator.command import Command, CommandResult
    from orchestrator.model.store import StorePath
    from orchestrator.scripts import Answer
    from orchestrator.transport.session import Session
    from orchestrator.transport.shell import Shell


_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class BootState:
    """What a host has booted and runs; `changed` is what a system needs a reboot for.

    The systems are empty if they are none of NixOS.
    """

    boot_id: str
    running: str
    booted: str
    changed: tuple[str, ...] = ()

    @property
    def needs_reboot(self) -> bool:
        """Whether the host runs another kernel, initrd or driver than the system has."""
        return bool(self.changed)


def boot_state(toplevel: StorePath) -> Command:
    """Ask a host what it has booted, beside `toplevel`, whose closure it has."""
    return script("stages/activate/boot_state.sh", toplevel=toplevel, timeout=_TIMEOUT)


def read_boot_state(answer: Answer) -> BootState:
    """Read what `boot_state.sh` answered.

    Raises:
        PayloadError: it doesn't name its boot.
    """
    return BootState(
        answer.one("boot_id", Stage.REBOOT),
        answer.get("running_system"),
        answer.get("booted_system"),
        changed=answer.every("changed"),
    )


async def reboot_for(shell: Shell, toplevel: StorePath) -> tuple[BootPart, ...]:
    """Ask a host what of a system that it has needs a reboot; not to know it stops nothing.

    Raises:
        PayloadError: it says something else.
        UnreachableError: the connection broke.
    """
    answer = read(await shell.run(boot_state(toplevel)))
    changed = read_boot_state(answer).changed if answer.end is ScriptExit.DONE else ()
    return tuple(part for part in BootPart if part in changed)


def look(session: Session, toplevel: StorePath) -> BootState:
    """Ask for the state over a session.

    Raises:
        CommandError: it can't be asked, or the connection broke.
        PayloadError: it says something else.
    """
    result = session.run(boot_state(toplevel))
    return read_boot_state(answer_of(result, Stage.REBOOT, "what it has booted can't be asked"))


def reboot(session: Session) -> None:
    """Reboot in good order; the session ends with it.

    Raises:
        CommandError: it refuses.
    """
    result = session.run_as_root(program("systemctl", "reboot", timeout=_TIMEOUT))
    if result.returncode not in (0, LOST):
        raise _failed(result)


def _failed(result: CommandResult) -> StageError:
    error = result.failure(Stage.REBOOT, "it does not reboot")
    error.hint = error.hint or "the new system is its boot default: reboot it by hand"
    return error


def check_rebooted(host: str, before: BootState, after: BootState, toplevel: StorePath) -> None:
    """Check that the host has booted the system, and runs it. Pure.

    Raises:
        StageError: it is the boot of before, or of another system.
    """
    what = ""
    if after.boot_id == before.boot_id:
        what = "it has not rebooted"
    elif after.booted != toplevel:
        what = f"it has booted {after.booted or 'no NixOS system'}, not {toplevel}"
    elif after.running != toplevel:
        what = f"it has booted the new system and runs {after.running or 'none'}"
    if what:
        hint = "look at its boot loader and console"
        raise StageError(what, hint=hint, host=host, stage=Stage.REBOOT)
