"""What needs a reboot is known before anything is built, by the rule of boot_state.sh."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from inventory.host import RebootPolicy
from orchestrator.cli.plan import describe
from orchestrator.model.boot_part import BootPart
from orchestrator.model.plan import Action, Evaluation, FlakeRef, Goal, HostPlan
from orchestrator.model.policy import Reboots
from orchestrator.model.variant import Variant, VariantChoice
from orchestrator.scripts import parse_answer, script
from orchestrator.stages.evaluate.evaluate import evaluate
from orchestrator.stages.plan.reboot_need import (
    RebootNeed,
    reboot_need,
    reboot_note,
    reboots_needed,
)
from orchestrator.transport.shell import LocalShell
from tests.lab.fleet_flake import NIXOS_STANDIN
from tests.plans import Wanted, facts, host_plan, make_plan, output
from tests.unit.stages.flake.test_template import environment, user_flake, written

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.model.store import StorePath


needs_nix = pytest.mark.skipif(shutil.which("nix") is None, reason="nix is not on PATH")

KERNEL, INITRD, MODULES = BootPart
ALL = {part: output(f"old-{part}") for part in BootPart}
NEVER, ASK, IF_NEEDED = RebootPolicy
LEFT_TO_YOU = "it needs a reboot, which is left to you"

CASES = [
    ({}, {}, (), ()),
    (ALL, ALL, (), ()),
    (ALL, {**ALL, KERNEL: output("new")}, (KERNEL,), ()),
    (ALL, {**ALL, KERNEL: output("new"), INITRD: output("new")}, (KERNEL, INITRD), ()),
    (ALL, {**ALL, MODULES: output("nvidia")}, (MODULES,), ()),
    # A container that becomes a machine, and one that stays one.
    ({}, ALL, (KERNEL, INITRD, MODULES), ()),
    # What the flake says nothing of is no change, and not nothing either.
    (ALL, {KERNEL: ALL[KERNEL]}, (), (INITRD, MODULES)),
    (ALL, {}, (), (KERNEL, INITRD, MODULES)),
]


@pytest.mark.parametrize(("booted", "new", "changed", "unknown"), CASES)
def test_a_part_changes_where_its_store_path_does(
    booted: dict[BootPart, StorePath],
    new: dict[BootPart, StorePath],
    changed: tuple[BootPart, ...],
    unknown: tuple[BootPart, ...],
) -> None:
    """Parts are compared by name; one that isn't known is said to be unknown."""
    known = replace(facts("carbon"), booted_parts=booted)
    evaluation = replace(host_plan(Wanted("carbon")).evaluation, boot_parts=new)
    assert reboot_need(known, evaluation) == RebootNeed(changed, unknown)
    no_nixos = replace(known, booted_system=None)
    assert reboot_need(no_nixos, evaluation) == RebootNeed()


@pytest.mark.parametrize(("booted", "new", "changed", "unknown"), CASES)
def test_the_host_itself_says_the_same_once_it_has_the_system(
    tmp_path: Path,
    booted: dict[BootPart, StorePath],
    new: dict[BootPart, StorePath],
    changed: tuple[BootPart, ...],
    unknown: tuple[BootPart, ...],
) -> None:
    """boot_state.sh, over the links of two systems, finds the changes that were known before."""
    systems = {"booted-system": booted, "new": {part: ALL[part] for part in unknown} | new}
    for name, parts in systems.items():
        (tmp_path / name).mkdir()
        for part, path in parts.items():
            file = tmp_path / path.removeprefix("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
            (tmp_path / name / part).symlink_to(file)
    command = script("stages/activate/boot_state.sh", toplevel=str(tmp_path / "new"))
    argv = [word.replace("/run/booted", f"{tmp_path}/booted") for word in command.argv]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    found = [*parse_answer(said).every("changed")]
    assert tuple(found) == changed


def planned(policy: RebootPolicy, *parts: BootPart, unknown: tuple[BootPart, ...] = ()) -> HostPlan:
    """Give the plan of a host of this policy, with what it needs a reboot for."""
    host = host_plan(Wanted("carbon"))
    return replace(
        host, target=replace(host.target, reboot=policy), reboot_for=parts, reboot_unknown=unknown
    )


@pytest.mark.parametrize(
    ("policy", "allowed", "said"),
    [
        (NEVER, None, f"{LEFT_TO_YOU} (orchestrate_reboot: never)"),
        (ASK, None, "it reboots after its confirmation if you allow it (orchestrate_reboot: ask)"),
        (IF_NEEDED, None, "it reboots after its confirmation"),
        (NEVER, False, f"{LEFT_TO_YOU} (orchestrate_reboot: never)"),
        (ASK, True, "it reboots after its confirmation"),
        (ASK, False, f"{LEFT_TO_YOU} (orchestrate_reboot: ask, and the answer was not yes)"),
        (IF_NEEDED, False, f"{LEFT_TO_YOU} (--no-reboot)"),
    ],
)
def test_a_note_says_what_the_policy_makes_of_it(
    policy: RebootPolicy, said: str, *, allowed: bool | None
) -> None:
    """What changes comes first, then whether the host reboots by itself."""
    host = planned(policy, KERNEL, INITRD)
    note = reboot_note(host, Goal.SWITCH, allowed=allowed)
    assert note == f"the kernel and the initrd change; {said}"
    assert reboot_note(planned(policy), Goal.SWITCH, allowed=allowed) == ""


@pytest.mark.parametrize("goal", [goal for goal in Goal if goal is not Goal.SWITCH])
def test_other_goals_never_reboot(goal: Goal) -> None:
    """Whatever the policy, their note promises no reboot."""
    note = reboot_note(planned(IF_NEEDED, MODULES), goal)
    assert note.startswith("the kernel modules and drivers change; ")
    assert "it reboots" not in note


def test_what_is_not_known_is_said() -> None:
    """The copy's report decides; a host that stays as it is may wait for a reboot all the same."""
    note = reboot_note(planned(NEVER, KERNEL, unknown=(INITRD, MODULES)), Goal.SWITCH)
    assert note.startswith("the kernel changes; ")
    assert note.endswith(
        "; whether the initrd and the kernel modules and drivers change is known after the copy"
    )
    waiting = replace(planned(IF_NEEDED, KERNEL), action=Action.UNCHANGED)
    assert reboot_note(waiting, Goal.SWITCH) == "the kernel changes; it still waits for a reboot"


def test_the_plan_and_the_deployment_say_it() -> None:
    """`plan` has a line, `deploy` an event for each host that changes."""
    plan = replace(make_plan(), hosts=(planned(IF_NEEDED, KERNEL),))
    assert "  reboot   the kernel changes; it reboots after its confirmation" in describe(plan)
    ((host, needed),) = reboots_needed(replace(plan, reboots=Reboots(("carbon",))))
    assert (host, needed.event) == ("carbon", "reboot_needed")
    assert needed.parts == (KERNEL,)
    assert needed.message.startswith("the kernel changes; ")
    unchanged = replace(plan.hosts[0], action=Action.UNCHANGED)
    assert reboots_needed(replace(plan, hosts=(unchanged,))) == []


def evaluated(tmp_path: Path, user: Path) -> Evaluation:
    """Give what Nix makes of the only machine."""
    flake = FlakeRef(str(written(tmp_path, user, VariantChoice("carbon", Variant.CPU, "tried"))))
    made = asyncio.run(evaluate(LocalShell(), flake, ["carbon"], 1))["carbon"]
    assert isinstance(made, Evaluation), made
    return made


@needs_nix
def test_nix_says_it_of_a_system_that_is_not_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another kernel, initrd or module is another store path; another setting is none."""
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    extras = {
        "plain": "",
        "other": 'environment.etc.word.text = "other";',
        "kernel": 'boot.kernelPackages.kernel = { version = "1"; name = "linux-1"; };',
        "initrd": 'boot.kernelModules = [ "loop" ];',
        "modules": "boot.extraModulePackages = "
        '[ (builtins.derivation { name = "nvidia"; system = "x"; builder = "x"; }) ];',
    }
    made = {}
    for name, extra in extras.items():
        directory = tmp_path / name
        directory.mkdir()
        made[name] = evaluated(directory, user_flake(directory, extra)).boot_parts
    assert set(made["plain"]) == set(BootPart)
    assert made["other"] == made["plain"]

    def changed(name: str) -> set[BootPart]:
        return {part for part in BootPart if made[name][part] != made["plain"][part]}

    assert changed("kernel") == {KERNEL, INITRD, MODULES}
    assert changed("initrd") == {INITRD}
    assert changed("modules") == {MODULES}


HANDMADE = """
{
  inputs.nixpkgs.url = "path:NIXPKGS";
  outputs = { nixpkgs, ... }: {
    nixosConfigurations."carbon.home" =
      let
        nixos = nixpkgs.lib.nixosSystem {
          modules = [ { nixpkgs.hostPlatform = "x86_64-linux"; } ];
        };
      in
      nixos // {
        extendModules = _: nixos // {
          config.nixpkgs.overlays = [ ];
          config.system.build = rec {
            toplevel = derivation { name = "system"; system = "x86_64-linux"; builder = "x"; };
            llama-cpp = toplevel;
            KERNEL
          };
        };
      };
  };
}
"""
OWN_KERNEL = 'kernel = derivation { name = "kernel"; system = "x86_64-linux"; builder = "x"; };'


@needs_nix
@pytest.mark.parametrize(("kernel", "known"), [("", []), (OWN_KERNEL, [KERNEL])])
def test_a_machine_without_these_parts_evaluates_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: str, known: list[BootPart]
) -> None:
    """What a container lacks, and what somebody's own system may have, is left out."""
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    user = tmp_path / "user"
    user.mkdir()
    text = HANDMADE.replace("NIXPKGS", str(NIXOS_STANDIN)).replace("KERNEL", kernel)
    (user / "flake.nix").write_text(text)
    assert list(evaluated(tmp_path, user).boot_parts) == known
