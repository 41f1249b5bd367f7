"""A plan answers by names, and is written to the journal as it was made."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from orchestrator.model.plan import Goal, Plan
from orchestrator.model.policy import Reboots
from tests.plans import Wanted, derivation, make_plan, output


def test_hosts_and_builds_are_found_by_name() -> None:
    """Each is the plan's own, and what it doesn't have is a KeyError."""
    plan = make_plan(Wanted("carbon"), Wanted("boron"))
    assert plan.host("boron") is plan.hosts[1]
    system = plan.build(derivation("system-carbon"))
    assert system in plan.builds
    assert plan.build_before(system.derivation) == derivation("llama-shared")
    assert plan.build_before(derivation("llama-shared")) is None
    assert plan.build_before(derivation("unknown")) is None
    with pytest.raises(KeyError):
        plan.host("neon")
    with pytest.raises(KeyError):
        plan.build(derivation("unknown"))


def test_what_was_looked_up_is_not_written() -> None:
    """A plan that was asked for its hosts, builds and ways reads back as the one that wasn't."""
    plan = replace(make_plan(Wanted("carbon"), goal=Goal.SWITCH), reboots=Reboots(("carbon",)))
    before = msgspec.json.encode(plan)
    plan.way_of(plan.host("carbon"))
    plan.build(derivation("system-carbon"))
    assert msgspec.json.encode(plan) == before
    assert msgspec.json.decode(before, type=Plan) == plan


def test_only_hosts_that_ran_another_system_change() -> None:
    """A plan for other previous systems differs in those hosts alone, also when asked by name."""
    plan = make_plan(Wanted("carbon"), Wanted("boron"))
    assert plan.host("carbon").previous == output("old-carbon")
    later = plan.with_previous({"carbon": output("other")})
    assert later.host("carbon").previous == output("other")
    assert later.host("boron") is plan.host("boron")
    assert plan.with_previous({}) is plan
