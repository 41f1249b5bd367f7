"""What a run asks before it begins."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.cli.consent import changes
from orchestrator.errors import Failure
from orchestrator.model.boot_part import BootPart
from orchestrator.model.plan import Action
from orchestrator.model.policy import Reboots
from tests.plans import Wanted, make_plan


def test_what_would_change_is_shown_host_by_host() -> None:
    """How many of all, each with what it becomes and whether it reboots, and who is left out."""
    plan = make_plan(Wanted("carbon"), Wanted("boron"), Wanted("neon", action=Action.UNCHANGED))
    carbon, *others = plan.hosts
    plan = replace(
        plan,
        hosts=(replace(carbon, reboot_for=(BootPart.KERNEL,)), *others),
        reboots=Reboots(("carbon",)),
        blocked={"argon": Failure("its pin does not hold")},
    )
    assert changes(plan) == [
        "hosts to change: 2 of 4",
        "  carbon: cpu, 00000000 → 00000000, reboots",
        "  boron: cpu, 00000000 → 00000000",
        "  left out: argon: its pin does not hold",
    ]


def test_a_screen_holds_only_so_many() -> None:
    """A thousand hosts are counted, and the first are named."""
    lines = changes(make_plan(*(Wanted(f"node-{number}") for number in range(1000))))
    assert lines[0] == "hosts to change: 1000 of 1000"
    assert lines[-1] == "  and 970 more (orchestrate plan names all)"


def test_going_back_is_called_so() -> None:
    """A rollback by hand changes nothing forward."""
    plan = make_plan(Wanted("carbon"))
    plan = replace(plan, hosts=tuple(replace(host, goes_back=True) for host in plan.hosts))
    assert changes(plan)[0] == "hosts to go back: 1 of 1"
