"""What a survey keeps of the hosts that it goes on without."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from orchestrator.cli.history import describe as describe_run
from orchestrator.cli.plan import as_data, describe
from orchestrator.command import Command, CommandResult
from orchestrator.deploy.history import run_record
from orchestrator.deploy.prepare.survey import LeftOut
from orchestrator.deploy.rollout.run import Run
from orchestrator.errors import PlanError, UnreachableError
from tests.plans import make_plan

if TYPE_CHECKING:
    from orchestrator.model.plan import Plan

FAILED = CommandResult(Command(("cat", "/facts")), "carbon", 3, "", "it begins\nno such file\n")
"""What reading the facts of carbon ended with."""


def plan_without_carbon() -> Plan:
    """Return a plan that leaves out carbon, whose facts could not be read."""
    found = LeftOut()
    found.add("carbon", FAILED.failure("facts", "its facts can't be read"))
    return replace(make_plan(), failed=found.failed)


def test_each_kind_of_failure_has_its_place() -> None:
    """Unreachable and blocked hosts are told apart; a failure without a host gets its host."""
    found = LeftOut()
    found.add("carbon", UnreachableError("no answer"))
    found.add("boron", PlanError("its pin is blocked", host="boron"))
    assert found.unreachable["carbon"].host == "carbon"
    assert (found.blocked["boron"].message, found.failed) == ("its pin is blocked", {})


def test_a_host_without_facts_keeps_all_parts_in_the_plan() -> None:
    """A reader sees command and last lines; a program finds each part by its name."""
    plan = plan_without_carbon()
    assert [line for line in describe(plan).splitlines() if line][:5] == [
        "left out",
        "  carbon: facts: its facts can't be read (exit code 3)",
        "    command: cat /facts",
        "    | it begins",
        "    | no such file",
    ]
    failure = json.loads(msgspec.json.encode(as_data(plan)))["failed"]["carbon"]
    assert (failure["host"], failure["stage"]) == ("carbon", "facts")
    assert failure["message"] == "its facts can't be read (exit code 3)"
    assert failure["command"] == "cat /facts"
    assert failure["last_lines"] == ["it begins", "no such file"]


def test_a_host_without_facts_keeps_all_parts_in_its_result() -> None:
    """Its message is one line; the rest is beside it, also in the run's history."""
    plan = plan_without_carbon()
    ended = Run(plan, {}).results
    carbon = ended["carbon"]
    assert carbon.message == "its facts can't be read (exit code 3)"
    assert carbon.failure == plan.failed["carbon"]
    shown = describe_run(run_record(Run(plan, {}), ended)).splitlines()
    assert "  message  facts: its facts can't be read (exit code 3)" in shown
    assert "           | no such file" in shown
    assert "           command: cat /facts" in shown
