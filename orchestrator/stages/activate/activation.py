"""Activation: what the stages share that change which system a host runs or boots."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.errors import UnreachableError
from orchestrator.model.guard import Guard
from orchestrator.model.report import SwitchReport
from orchestrator.model.store import StorePath
from orchestrator.scripts import ScriptExit, failure, script
from orchestrator.transport.shell import LOST, TIMED_OUT

if TYPE_CHECKING:
    from orchestrator.command import Command, CommandResult
    from orchestrator.errors import StageError
    from orchestrator.scripts import Answer


UNITS_FAILED = 4
"""switch-to-configuration's exit code when a unit didn't start (its main.rs)."""

_ROLLBACK = 60.0
"""Seconds that a rollback may need on top of the old system's activation."""

# What switch-to-configuration-ng's main.rs ends with: 100 by itself, 11 (EAGAIN) as the
# last error of the system call that didn't give it its lock.
_MEANINGS = {
    "100": (
        "the new system's init can't take over from the one that runs",
        "deploy it with --goal boot, and reboot the host",
    ),
    "11": (
        "another activation holds its lock",
        "wait for its end, then run the command again",
    ),
}

# What main.rs of switch-to-configuration-ng prints: of the host, of a user's manager, and
# of a user whose manager can't be asked or doesn't say which unit it was.
_FAILED_UNITS = re.compile(r"the following (?:user )?units failed: (.+)")
_FAILED_USER = re.compile(r"warning: user activation for (\S+) failed")

# A job that failed leaves its unit as it is if that was to be reloaded, and inactive if
# what it depends on has failed: neither is among the failed units at the end.
_FAILED_JOB = re.compile(
    r"^Failed to (?:start|stop|restart|reload) (?:user unit )?(\S+\.[a-z]+)(?::|$)", re.MULTILINE
)

_NOT_ACTIVATED = "Failed to run activate script"
"""What it prints where a part of the activation failed; failed units may hide that code, 2."""

_FAILED_CHECK = re.compile(r"^Pre-switch check '(.+)' failed$", re.MULTILINE)
"""What NixOS's pre-switch-check.nix prints last of a check that failed."""


def activation_script(
    name: str, *, timeout: float, tools: StorePath | None = None, **arguments: str
) -> Command:
    """Build the command of a script that uses what `activate.sh` defines."""
    place = "stages/activate"
    shared = f"{place}/activate.sh"
    return script(f"{place}/{name}", timeout=timeout, shared=shared, tools=tools, **arguments)


@dataclass(frozen=True, slots=True)
class Activation:
    """What is to run on a host, what runs there now, and what activates it.

    Args:
        host: the inventory name.
        toplevel: the system to activate; its closure is on the host.
        previous: what runs now and where a rollback leads; None on a host
            that has no NixOS system yet.
        boot_default: what the next boot gives; None if nothing is set. The
            switch notes on the host itself what that is by then.
        run: the run's id.
        confirm_timeout: seconds until the host goes back by itself.
        way_back_timeout: seconds that the old system's activation may take.
        boot_id: of the boot in which the plan was made.
        reboot_as_last_resort: whether the host reboots into its boot default
            if the old system can't be activated.
        accept_failed_units: whether a system may stay some of whose units failed.
        nixos_rebuild: the package whose nixos-rebuild activates; None for the system's
            own switch-to-configuration.
        generation: of the profile that the system is already; None for a new one.
        tools: the system whose programs the scripts use; None for those of the PATH.
    """

    host: str
    toplevel: StorePath
    previous: StorePath | None
    boot_default: StorePath | None
    run: str
    confirm_timeout: float
    way_back_timeout: float
    boot_id: str
    reboot_as_last_resort: bool
    accept_failed_units: bool
    nixos_rebuild: StorePath | None
    generation: int | None = None
    tools: StorePath | None = None

    @property
    def patience(self) -> float:
        """Seconds that a script waits for another one to let go of the host.

        An automatic rollback holds it longest.
        """
        return self.way_back_timeout + _ROLLBACK

    def within(self, seconds: float) -> float:
        """Return the seconds until a script that needs `seconds` for itself must have ended.

        That alone tells of a network that is dead, so waiting for the host isn't
        added: what has waited long has less for itself, and the run goes back.
        """
        return max(seconds, self.patience)

    @property
    def last_resort(self) -> str:
        """What the scripts are told to do if the old system can't be activated."""
        return "reboot" if self.reboot_as_last_resort else "stay"

    @property
    def guard(self) -> Guard:
        """What the host does by itself from the switch until the confirmation."""
        return Guard.until_confirmed(has_previous=self.previous is not None)


def whole(seconds: float) -> str:
    """Return seconds as the scripts count them, in whole numbers."""
    return str(math.ceil(seconds))


def failed_units(answer: Answer) -> tuple[str, ...]:
    """Read which units failed out of an activation's answer.

    Those that had failed before, and that the new system has as the old one had them,
    are not among them.
    """
    listed = ",".join(_FAILED_UNITS.findall(answer.output))
    units = {unit.strip(): None for unit in listed.split(",") if unit.strip()}
    units |= dict.fromkeys(_FAILED_JOB.findall(answer.output))
    if "user units failed" not in answer.output:
        units |= {f"units of {name}": None for name in _FAILED_USER.findall(answer.output)}
    before = answer.every("failed_before")
    return tuple(unit for unit in units if unit not in before)


def units_remain_failed(answer: Answer) -> bool:
    """Whether an activation ended with failed units other than those of before. Pure."""
    if answer.get("activation") != str(UNITS_FAILED):
        return False
    return bool(failed_units(answer)) or not answer.every("failed_before")


def activated(answer: Answer, activation: Activation) -> SwitchReport | None:
    """Return the report of an activation that ended well, or well enough for this host. Pure.

    Exit code 4 of switch-to-configuration says that the new system runs, and
    that units of the host failed. A confirmation that only disarms activates nothing.
    """
    if answer.end is not ScriptExit.DONE:
        return None
    code = int(answer.get("activation") or "0")
    failed = failed_units(answer) if code != 0 else ()
    if units_remain_failed(answer) and not (failed and activation.accept_failed_units):
        return None
    if _NOT_ACTIVATED in answer.output:
        return None
    return SwitchReport(activation.host, activation.previous, activation.toplevel, code, failed)


def activation_failure(
    result: CommandResult, answer: Answer, stage: str, failed: str, guard: Guard
) -> StageError:
    """Make the error of a script that activates.

    Args:
        result: how the script ended.
        answer: what it answered.
        stage: who ran it.
        failed: what did not come about.
        guard: what the host does by itself now.
    """
    if result.returncode == LOST:
        return UnreachableError(
            message=f"{failed}: the connection broke",
            hint=f"what was begun goes on there; {guard.value}",
            host=result.host,
            stage=stage,
        )
    error = failure(result, answer, stage, failed)
    units = failed_units(answer)
    code = answer.get("activation")
    if answer.end is None and result.returncode == TIMED_OUT:
        error.message = f"{failed}: its script did not end in time"
        error.hint = f"what was begun goes on there; {guard.value}"
    elif answer.end is ScriptExit.DONE:
        # The script has nothing against failed units; this host has.
        what = f"units failed: {', '.join(units)}" if units else f"it ended with {code}"
        what = "a part of its activation failed" if _NOT_ACTIVATED in answer.output else what
        error.message = f"{failed}: the new system runs, but {what}"
        error.hint = _where_to_look(units)
    elif answer.end is ScriptExit.ACTIVATION_FAILED:
        error.message = f"{error.message} (exit code {code})"
        why, hint = _MEANINGS.get(code, ("", ""))
        if why:
            error.message, error.hint = f"{error.message}: {why}", hint
        if units:
            error.hint = _where_to_look(units)
        elif check := _FAILED_CHECK.search(answer.output):
            error.message = f"{failed}: the new system's pre-switch check {check[1]} failed"
            error.hint = "mend what it asks for, or system.preSwitchChecks in the configuration"
    return error


def _where_to_look(units: tuple[str, ...]) -> str:
    """Say how to see why units failed; those of a user may have no name here."""
    named = units and " " not in units[0]
    return f"look there: journalctl -u {units[0]}" if named else "look there: journalctl -b -e"
