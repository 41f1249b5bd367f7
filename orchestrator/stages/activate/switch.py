"""Switch: note what runs, arm the way back, activate by `test`.

Nothing on disk says "boot this" before the smoke has passed. The way back is a
transient timer on the target itself: if no confirmation comes, because the
controller, the worker or the network is dead, the old system comes back alone.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.command import Command, CommandResult, last_lines, script
from orchestrator.errors import StageError, UnreachableError
from orchestrator.model.report import SwitchReport
from orchestrator.model.stage import Stage
from orchestrator.model.store import StorePath
from orchestrator.scripts import text_of
from orchestrator.transport.shell import LOST, TIMED_OUT

if TYPE_CHECKING:
    from orchestrator.transport.session import Privileged


UNITS_FAILED = 4
"""switch-to-configuration's exit code when a unit didn't start (its main.rs)."""

_WAY_BACK = 60.0
"""Seconds that a way back may need on top of the old system's activation."""

_MARGIN = 5.0
"""Seconds that a session may need on top of what it waits for."""

_DRIFTED = 71
_GOES_ON = 75
_WENT_BACK = 76
_NOT_BEGUN = 77
_HELD = 78
_FAILED_UNITS = re.compile(r"the following units failed: (.+)")


def activation_script(name: str, *arguments: str, timeout: float | None = None) -> Command:
    """Join `activate.sh` and the script `name`, with its arguments."""
    return script(text_of("activate/activate.sh") + text_of(name), *arguments, timeout=timeout)


@dataclass(frozen=True, slots=True)
class Activation:
    """What is to run on a host, what runs there now, and what activates it.

    Args:
        host: the inventory name.
        toplevel: the system to activate; its closure is on the host.
        previous: what runs now and where the way back leads; None on a host
            that has no NixOS system yet.
        boot_default: what the next boot gives; None where nothing is set. The
            switch notes on the host itself what that is by then.
        run: the run's id.
        confirm_timeout: seconds until the host goes back by itself.
        way_back_timeout: seconds that the old system's activation may take.
        boot_id: of the boot in which the plan was made.
        reboot_as_last_resort: whether the host reboots into its boot default
            where the old system can't be activated.
        accept_failed_units: whether a system may stay some of whose units failed.
        by_nixos_rebuild: whether its own nixos-rebuild takes a store path.
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
    by_nixos_rebuild: bool

    @property
    def activator(self) -> str:
        """What the scripts are told to activate with."""
        return "nixos-rebuild" if self.by_nixos_rebuild else "switch-to-configuration"

    @property
    def patience(self) -> float:
        """Seconds that a script waits for another one to let go of the host.

        A way back that is being taken holds it longest.
        """
        return self.way_back_timeout + _WAY_BACK

    def within(self, seconds: float) -> float:
        """Seconds until a script that needs `seconds` for itself must have ended.

        That alone tells of a network that is dead, so waiting for the host isn't
        added: what has waited long has less for itself, and the run goes back.
        """
        return max(seconds, self.patience)

    @property
    def last_resort(self) -> str:
        """What the scripts are told to do where the old system can't be activated."""
        return "reboot" if self.reboot_as_last_resort else "stay"


def switch(host: Privileged, activation: Activation) -> SwitchReport:
    """Activate a system, with the way back armed.

    Raises:
        UnreachableError: the connection broke; the activation goes on, with the
            way back armed.
        StageError: the activation failed, or somebody else changed the host.
    """
    seconds = whole(activation.confirm_timeout)
    command = activation_script(
        "activate/switch.sh",
        activation.toplevel,
        activation.previous or "",
        activation.run,
        seconds,
        activation.activator,
        activation_script("activate/way_back.sh").argv[2],
        whole(activation.way_back_timeout),
        activation.last_resort,
        whole(activation.patience),
        timeout=activation.within(activation.confirm_timeout) + _MARGIN,
    )
    return _switched(host.run_as_root(command), activation)


def await_switch(host: Privileged, activation: Activation) -> SwitchReport | None:
    """Wait for the end of an activation that took its own connection away.

    Gives None where the connection was gone before anything was begun.

    Raises:
        UnreachableError: the connection broke again.
        StageError: the activation failed, or the host went back.
    """
    command = activation_script(
        "activate/await.sh",
        activation.toplevel,
        activation.run,
        whole(activation.confirm_timeout),
        whole(activation.patience),
        activation.boot_id,
        timeout=activation.within(activation.confirm_timeout) + _MARGIN,
    )
    result = host.run_as_root(command)
    return None if result.returncode == _NOT_BEGUN else _switched(result, activation)


def whole(seconds: float) -> str:
    """Give seconds as the scripts count them, in whole numbers."""
    return str(math.ceil(seconds))


def failed_units(output: str) -> tuple[str, ...]:
    """Read the names of failed units out of an activation's output."""
    found = _FAILED_UNITS.search(output)
    return tuple(unit.strip() for unit in found[1].split(",")) if found else ()


def _switched(result: CommandResult, activation: Activation) -> SwitchReport:
    report = activated(result, activation)
    if report is None:
        raise _switch_failed(result, activation)
    return report


def activated(result: CommandResult, activation: Activation) -> SwitchReport | None:
    """Give the report of an activation that ended well, or well enough for this host. Pure.

    Exit code 4 of switch-to-configuration says that the new system runs, and
    that units of it failed.
    """
    code = result.returncode
    units = failed_units(result.stdout)
    tolerable = code == UNITS_FAILED and bool(units) and activation.accept_failed_units
    if code != 0 and not tolerable:
        return None
    failed = units if tolerable else ()
    return SwitchReport(activation.host, activation.previous, activation.toplevel, code, failed)


def _switch_failed(result: CommandResult, activation: Activation) -> StageError:
    units = failed_units(result.stdout)
    hint = f"look there: journalctl -u {units[0]}" if units else "look there: journalctl -b -e"
    if result.returncode == UNITS_FAILED and units:
        what = f"the new system runs, but units failed: {', '.join(units)}"
    elif result.returncode in (_GOES_ON, TIMED_OUT):
        what = f"the activation did not end within {activation.confirm_timeout:g} seconds"
        hint = "it is stopped; what it waited for may be in journalctl -b -e there"
    elif result.returncode == _WENT_BACK:
        what = "the host went back to its old system by itself"
        hint = "if its activation and smoke need longer, raise orchestrate_confirm_timeout"
    elif result.returncode == _DRIFTED:
        what = "another system runs than when the plan was made"
    else:
        what = "the activation failed"
    error = activation_failure(result, Stage.SWITCH, what)
    error.hint = error.hint or hint
    return error


def activation_failure(result: CommandResult, stage: str, what: str) -> StageError:
    """Make the error of a script of ours that activates, without its text.

    The script is long: what a user can try is the activation itself.
    """
    if result.returncode == LOST:
        return UnreachableError(
            message="the connection broke during the activation",
            hint="the host goes back to its old system by itself when nobody confirms",
            host=result.host,
            stage=stage,
        )
    held = result.returncode == _HELD and last_lines(result.stderr, 1)
    error = result.failure(stage, held[0] if held else what)
    error.command = ""
    if held:
        error.hint = "wait for it or, where it hangs, kill it there; then run the command again"
    return error
