"""Reboot: kernel, initrd and drivers of a system that stays are in use after it only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.command import Command, script
from orchestrator.errors import PayloadError, StageError
from orchestrator.model.boot_part import BootPart
from orchestrator.model.stage import Stage
from orchestrator.scripts import shipped
from orchestrator.transport.shell import LOST

if TYPE_CHECKING:
    from orchestrator.command import CommandResult
    from orchestrator.model.store import StorePath
    from orchestrator.transport.session import Session
    from orchestrator.transport.shell import Shell


_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class BootState:
    """What a host has booted and runs; `changed` is what a system needs a reboot for.

    The systems are empty where they are none of NixOS.
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
    return shipped("activate/reboot.sh", toplevel, timeout=_TIMEOUT)


def parse_boot_state(text: str) -> BootState:
    """Read what `boot_state` printed.

    Raises:
        PayloadError: it is anything else.
    """
    pairs = [line.partition("=")[::2] for line in text.splitlines()]
    found = dict(pairs)
    if "boot_id" not in found:
        message = f"expected the id of a boot, found {text[:120]!r}"
        raise PayloadError(message, stage=Stage.REBOOT)
    changed = tuple(value for key, value in pairs if key == "changed")
    systems = (found.get("running_system", ""), found.get("booted_system", ""))
    return BootState(found["boot_id"], *systems, changed=changed)


async def reboot_for(shell: Shell, toplevel: StorePath) -> tuple[BootPart, ...]:
    """Ask a host what of a system that it has needs a reboot; not to know it stops nothing.

    Raises:
        PayloadError: it says something else.
        UnreachableError: the connection broke.
    """
    asked = await shell.run(boot_state(toplevel))
    state = parse_boot_state(asked.stdout) if asked.returncode == 0 else None
    return tuple(part for part in BootPart if state and part in state.changed)


def look(session: Session, toplevel: StorePath) -> BootState:
    """Ask for the state over a session.

    Raises:
        CommandError: it can't be asked, or the connection broke.
        PayloadError: it says something else.
    """
    result = session.run(boot_state(toplevel))
    return parse_boot_state(result.check(Stage.REBOOT, "what it has booted can't be asked").stdout)


def reboot(session: Session) -> None:
    """Reboot in good order; the session ends with it.

    Raises:
        CommandError: it refuses.
    """
    result = session.run_as_root(script("systemctl reboot", timeout=_TIMEOUT))
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
