"""Reboots: what needs one, what proves one, and whose leave a run has."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from inventory.host import Connection, Host, Inventory, RebootPolicy
from orchestrator.deploy.perform.reboot import passes
from orchestrator.errors import PayloadError, RebootedError, StageError
from orchestrator.model.boot_part import changed_parts
from orchestrator.model.policy import Reboots
from orchestrator.scripts import parse_answer
from orchestrator.stages.activate.reboot import (
    BootState,
    boot_state,
    check_rebooted,
    read_boot_state,
)
from orchestrator.stages.plan.batches import reboots_of
from tests.plans import Wanted, host_plan, output

if TYPE_CHECKING:
    from pathlib import Path

NEW = output("new")
BEFORE = BootState("one", NEW, output("old"), ("kernel",))


def test_a_boot_state_is_read() -> None:
    """Systems, boot id and what only a reboot brings, each line one thing."""
    lines = (f"running_system={NEW}", f"booted_system={output('old')}", "boot_id=one")
    said = "".join(f"orchestrate:{line}\n" for line in lines)
    changed = "orchestrate:changed=kernel\norchestrate:changed=kernel-modules\n"
    state = read_boot_state(parse_answer(said + changed))
    assert state == BootState("one", NEW, output("old"), ("kernel", "kernel-modules"))
    assert changed_parts(state.changed) == "kernel, kernel modules and drivers"
    assert not read_boot_state(parse_answer(said)).needs_reboot
    with pytest.raises(PayloadError, match="boot_id 0 times"):
        read_boot_state(parse_answer("sh: not found"))


def test_a_host_that_booted_no_nixos_needs_none(tmp_path: Path) -> None:
    """Here, as on any machine without /run/booted-system, nothing is said of kernels."""
    (tmp_path / "kernel").write_text("")
    command = boot_state(output("none"))
    asked = subprocess.run(command.argv, capture_output=True, text=True, check=True)
    assert read_boot_state(parse_answer(asked.stdout)).changed == ()


@pytest.mark.parametrize(
    ("after", "what"),
    [
        (BootState("one", NEW, NEW), "it has not rebooted"),
        (BootState("two", NEW, output("old")), f"it has booted {output('old')}, not {NEW}"),
        (BootState("two", "", ""), f"it has booted no NixOS system, not {NEW}"),
        (BootState("two", output("old"), NEW), "it has booted the new system and runs"),
    ],
)
def test_a_reboot_is_proven_by_boot_id_and_system(after: BootState, what: str) -> None:
    """Another boot, of the new system, which runs: nothing less."""
    with pytest.raises(StageError, match=what):
        check_rebooted("carbon", BEFORE, after, NEW)
    check_rebooted("carbon", BEFORE, BootState("two", NEW, NEW), NEW)


def test_a_check_after_a_reboot_may_take_a_while() -> None:
    """What comes up with the host is asked again, once at least, and passes in the end."""
    answers: list[StageError | str] = ["yes", StageError("no"), StageError("no")]

    def check() -> str:
        answer = answers.pop()
        if isinstance(answer, StageError):
            raise answer
        return answer

    assert passes(host_plan(Wanted("carbon")), check, time.monotonic() + 10) == "yes"


def test_a_check_that_fails_after_a_reboot_says_where_back_is() -> None:
    """The system that it booted before is named, and the command that leads there."""

    def check() -> None:
        message = "the health check failed (exit code 3)"
        raise StageError(message, last_lines=("bad",))

    with pytest.raises(RebootedError) as raised:
        passes(host_plan(Wanted("carbon")), check, 0.0)
    assert raised.value.message == (
        "it has booted the new system, and fails there: the health check failed (exit code 3);"
        f" `orchestrate rollback carbon` takes it back to {output('old-carbon')}"
    )
    assert raised.value.last_lines == ("bad",)


def host(name: str, *groups: str) -> Host:
    """Return a target in these groups."""
    policy = RebootPolicy.IF_NEEDED
    return Host(name, Connection(name), nixos_name=name, groups=groups, reboot=policy)


def test_groups_are_all_their_targets_and_machines_in_none_are_one() -> None:
    """A machine that is not of the run counts as one of its group."""
    hosts = (host("carbon", "gpu", "lab"), host("boron", "gpu"), host("oxygen"), host("neon"))
    inventory = Inventory("inventory.yml", hosts, {})
    reboots = reboots_of(inventory, ("carbon", "oxygen"))
    assert reboots == Reboots(
        ("carbon", "oxygen"),
        {"gpu": ("carbon", "boron"), "lab": ("carbon",), "ungrouped": ("oxygen", "neon")},
    )
    assert reboots.shared_groups == {
        "gpu": frozenset({"carbon", "boron"}),
        "ungrouped": frozenset({"oxygen", "neon"}),
    }
