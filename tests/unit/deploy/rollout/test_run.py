"""The rollout: what comes next, when a run has ended, and how each host ended."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inventory.host import HealthCheck
from orchestrator.deploy.rollout.policy import Phase
from orchestrator.deploy.rollout.run import Run
from orchestrator.errors import Failure, PayloadError, RebootedError
from orchestrator.model.journal import Control, Step, StepKey, StepRecord, StepState
from orchestrator.model.plan import Action, Goal, Plan
from orchestrator.model.policy import Policy, Reboots
from orchestrator.model.report import (
    CopyReport,
    Outcome,
    RollbackReport,
    SmokeReport,
    SwitchReport,
    Verdict,
)
from orchestrator.model.store import DerivationPath
from orchestrator.model.variant import Backend
from tests.plans import Wanted, derivation, make_plan, output

Records = dict[StepKey, StepRecord]

GOOD = "good"
BAD = "bad"
LOOKS_BAD = "looks bad"
"""A smoke test that ran well and says that the system is bad."""


def smoke(host: str, *, passed: bool) -> dict[str, Any]:
    """Return a smoke test's report as the journal holds it."""
    failure = "" if passed else "it says nothing"
    report = SmokeReport(host, passed, Backend.CPU, "CPU", 12.5, 50.0, "Paris", failure)
    return dict(msgspec.to_builtins(report))


def rollback(host: str, verdict: Verdict = Verdict.ROLLED_BACK) -> dict[str, Any]:
    """Return a rollback's report as the journal holds it."""
    report = RollbackReport(host, verdict, output(f"old-{host}"), None, "its smoke failed")
    return dict(msgspec.to_builtins(report))


def record(key: StepKey, answer: str) -> StepRecord:
    """Return the record of a step that ended with this answer."""
    if answer == BAD:
        return StepRecord(StepState.FAILED, 1, error=Failure(f"{key.step} broke"))
    report: dict[str, Any] = {}
    if key.step is Step.SMOKE:
        report = smoke(key.subject, passed=answer == GOOD)
    if key.step is Step.ROLLBACK:
        report = rollback(key.subject)
    return StepRecord(StepState.DONE, 1, report=report)


def driven(plan: Plan, **answers: str) -> Records:
    """Drive a plan to its end; `switch_carbon="bad"` makes that step fail."""
    records: Records = {}
    while not Run(plan, records).is_finished:
        for key in Run(plan, records).next_steps:
            name = key.subject.removesuffix(".drv").rpartition("-")[2]
            records[key] = record(key, answers.get(f"{key.step}_{name}", GOOD))
    return records


def steps_of(records: Records, host: str) -> list[Step]:
    """Return what was sent for a host, in order."""
    return [key.step for key in records if key.subject == host]


def test_the_llama_package_is_built_before_the_systems() -> None:
    """First the shared package is built, then every system that needs it."""
    plan = make_plan(Wanted("carbon"), Wanted("boron"))
    llama = StepKey(Step.BUILD, derivation("llama-shared"))
    assert Run(plan, {}).next_steps == (llama,)
    built = {llama: record(llama, GOOD)}
    assert [key.subject for key in Run(plan, built).next_steps] == [
        derivation("system-carbon"),
        derivation("system-boron"),
    ]


@pytest.mark.parametrize("goal", [Goal.BUILD, Goal.SWITCH])
def test_a_host_that_has_its_system_waits_for_no_build(goal: Goal) -> None:
    """Nothing is built for it; if builds are all that is asked for, it is done."""
    plan = make_plan(Wanted("carbon"), goal=goal)
    (host,) = plan.hosts
    plan = replace(plan, hosts=(replace(host, has_system=True),), builds=())
    expected = () if goal is Goal.BUILD else (StepKey(Step.COPY, "carbon"),)
    assert Run(plan, {}).next_steps == expected
    outcome = Run(plan, driven(plan)).results["carbon"].outcome
    assert outcome is (Outcome.BUILT if goal is Goal.BUILD else Outcome.DEPLOYED)


def test_a_good_host_goes_the_whole_way() -> None:
    """A host goes copy, switch, smoke, confirm, and ends deployed with its speed."""
    plan = make_plan(Wanted("carbon"))
    records = driven(plan)
    assert steps_of(records, "carbon") == [Step.COPY, Step.SWITCH, Step.SMOKE, Step.CONFIRM]
    result = Run(plan, records).results["carbon"]
    assert result.outcome is Outcome.DEPLOYED
    assert result.current == output("system-carbon")
    assert result.previous == output("old-carbon")
    assert (result.backend, result.tokens_per_second) == (Backend.CPU, 12.5)


@pytest.mark.parametrize(
    ("answers", "sent", "outcome", "message"),
    [
        ({"copy_closure_carbon": BAD}, [Step.COPY], Outcome.FAILED, "copy_closure broke"),
        (
            {"switch_carbon": BAD},
            [Step.COPY, Step.SWITCH, Step.ROLLBACK],
            Outcome.ROLLED_BACK,
            "switch broke",
        ),
        (
            {"smoke_carbon": BAD},
            [Step.COPY, Step.SWITCH, Step.SMOKE, Step.ROLLBACK],
            Outcome.ROLLED_BACK,
            "smoke broke",
        ),
        (
            {"smoke_carbon": LOOKS_BAD},
            [Step.COPY, Step.SWITCH, Step.SMOKE, Step.ROLLBACK],
            Outcome.ROLLED_BACK,
            "it says nothing",
        ),
        (
            {"confirm_carbon": BAD},
            [Step.COPY, Step.SWITCH, Step.SMOKE, Step.CONFIRM, Step.ROLLBACK],
            Outcome.ROLLED_BACK,
            "confirm broke",
        ),
        (
            {"switch_carbon": BAD, "rollback_carbon": BAD},
            [Step.COPY, Step.SWITCH, Step.ROLLBACK],
            Outcome.FAILED,
            "switch broke; rollback: rollback broke",
        ),
    ],
)
def test_a_failure_leads_back(
    answers: dict[str, str], sent: list[Step], outcome: Outcome, message: str
) -> None:
    """What fails before the switch ends the host; what fails later puts it back."""
    plan = make_plan(Wanted("carbon"), Wanted("boron"))
    records = driven(plan, **answers)
    ended = Run(plan, records).results
    assert steps_of(records, "carbon") == sent
    assert (ended["carbon"].outcome, ended["carbon"].message) == (outcome, message)
    assert ended["boron"].outcome is Outcome.DEPLOYED


def test_a_failed_rollback_needs_manual_repair() -> None:
    """What a host runs after a failed rollback isn't known, and the result says so."""
    plan = make_plan(Wanted("carbon"))
    result = Run(plan, driven(plan, switch_carbon=BAD, rollback_carbon=BAD)).results["carbon"]
    assert (result.verdict, result.current) == (Verdict.NEEDS_REPAIR, None)


@pytest.mark.parametrize("verdict", [Verdict.DEGRADED, Verdict.NEEDS_REPAIR])
def test_a_rollback_that_is_not_good_is_a_failure(verdict: Verdict) -> None:
    """A host that went back badly has failed, with the verdict and its reason."""
    plan = make_plan(Wanted("carbon"))
    records = driven(plan, switch_carbon=BAD)
    key = StepKey(Step.ROLLBACK, "carbon")
    records[key] = replace(records[key], report=rollback("carbon", verdict))
    result = Run(plan, records).results["carbon"]
    assert (result.outcome, result.verdict) == (Outcome.FAILED, verdict)
    assert result.message == "switch broke; its smoke failed"


SHORT_WAYS = [
    (Goal.BOOT, Step.BOOT, Outcome.BOOTS_NEXT, "old-carbon"),
    (Goal.DRY_ACTIVATE, Step.DRY_ACTIVATE, Outcome.DRY_ACTIVATED, "old-carbon"),
]


@pytest.mark.parametrize(("goal", "step", "outcome", "runs"), SHORT_WAYS)
def test_a_goal_that_activates_nothing_has_one_step(
    goal: Goal, step: Step, outcome: Outcome, runs: str
) -> None:
    """After the copy comes the goal's own step, and the host runs what it ran."""
    plan = make_plan(Wanted("carbon"), goal=goal)
    records = driven(plan)
    assert steps_of(records, "carbon") == [Step.COPY, step]
    result = Run(plan, records).results["carbon"]
    assert (result.outcome, result.current) == (outcome, output(runs))
    assert result.is_good
    assert result.message
    assert Run(plan, records).settled_results.keys() == {"carbon"}


@pytest.mark.parametrize(("goal", "step"), [row[:2] for row in SHORT_WAYS])
def test_what_activated_nothing_needs_no_rollback(goal: Goal, step: Step) -> None:
    """If such a step fails the host has failed, and nothing is rolled back."""
    plan = make_plan(Wanted("carbon"), Wanted("boron"), goal=goal)
    records = driven(plan, **{f"{step}_carbon": BAD})
    assert steps_of(records, "carbon") == [Step.COPY, step]
    ended = Run(plan, records).results
    assert (ended["carbon"].outcome, ended["carbon"].message) == (Outcome.FAILED, f"{step} broke")
    assert ended["boron"].is_good
    assert Run(plan, records).settled_results.keys() == {"carbon", "boron"}


def test_a_tested_host_goes_the_whole_way() -> None:
    """The goal test smokes and confirms as a switch does, and says what the next boot gives."""
    plan = make_plan(Wanted("carbon"), goal=Goal.TEST)
    records = driven(plan)
    assert steps_of(records, "carbon") == [Step.COPY, Step.SWITCH, Step.SMOKE, Step.CONFIRM]
    result = Run(plan, records).results["carbon"]
    assert (result.outcome, result.current) == (Outcome.TESTED, output("system-carbon"))
    bad = driven(plan, smoke_carbon=LOOKS_BAD)
    assert Run(plan, bad).results["carbon"].outcome is Outcome.ROLLED_BACK


@pytest.mark.parametrize("goal", [Goal.SWITCH, Goal.BOOT, Goal.TEST])
def test_what_changes_hosts_goes_in_batches(goal: Goal) -> None:
    """Batches hold for every goal that changes a host."""
    plan = make_plan(Wanted("carbon"), Wanted("boron", batch=1), goal=goal)
    order = [key for key in driven(plan) if key.step is not Step.BUILD]
    way = plan.way_of(plan.hosts[0])
    assert order.index(StepKey(way[-1], "carbon")) < order.index(StepKey(way[0], "boron"))


def test_a_health_check_comes_between_smoke_and_confirmation() -> None:
    """Only a host that has a check of its own is asked, and one that fails is put back."""
    plan = make_plan(Wanted("carbon"), Wanted("boron"))
    carbon, boron = plan.hosts
    checked = replace(carbon.target, health=HealthCheck(("true",)))
    plan = replace(plan, hosts=(replace(carbon, target=checked), boron))
    good = driven(plan)
    way = [Step.COPY, Step.SWITCH, Step.SMOKE, Step.HEALTH, Step.CONFIRM]
    assert steps_of(good, "carbon") == way
    assert Step.HEALTH not in steps_of(good, "boron")
    bad = driven(plan, health_check_carbon=BAD)
    assert steps_of(bad, "carbon") == [*way[:-1], Step.ROLLBACK]
    result = Run(plan, bad).results["carbon"]
    assert (result.outcome, result.message) == (Outcome.ROLLED_BACK, "health_check broke")


def test_accepted_failed_units_are_named() -> None:
    """A host that stays with failed units is deployed, with a verdict that names them once."""
    plan = make_plan(Wanted("carbon"))
    records = driven(plan)
    for step, units in ((Step.SWITCH, ("a.service",)), (Step.CONFIRM, ("a.service", "b.timer"))):
        key = StepKey(step, "carbon")
        report = SwitchReport("carbon", output("old-carbon"), output("system-carbon"), 4, units)
        records[key] = replace(records[key], report=dict(msgspec.to_builtins(report)))
    result = Run(plan, records).results["carbon"]
    assert (result.outcome, result.verdict) == (Outcome.DEPLOYED, Verdict.UNITS_FAILED)
    assert result.failed_units == ("a.service", "b.timer")
    assert result.message.endswith("failed units: a.service, b.timer")


def test_a_failed_package_fails_the_hosts_that_need_it() -> None:
    """A failed build fails exactly the hosts that need it, with the build's message."""
    plan = make_plan(Wanted("carbon", llama="cuda"), Wanted("boron", llama="cpu"))
    records = driven(plan, build_cuda=BAD)
    ended = Run(plan, records).results
    assert (ended["carbon"].outcome, ended["carbon"].message) == (Outcome.FAILED, "build broke")
    assert ended["boron"].outcome is Outcome.DEPLOYED
    assert StepKey(Step.BUILD, derivation("system-carbon")) not in records


def test_the_next_batch_waits_for_the_whole_one_before() -> None:
    """A host of a later batch is copied to early, and switched after the earlier ones."""
    plan = make_plan(Wanted("carbon"), Wanted("boron", batch=1))
    order = [key for key in driven(plan) if key.step is not Step.BUILD]
    confirmed = order.index(StepKey(Step.CONFIRM, "carbon"))
    assert order.index(StepKey(Step.COPY, "boron")) < confirmed
    assert order.index(StepKey(Step.SWITCH, "boron")) > confirmed


def test_a_batch_that_wholly_fails_ends_the_run() -> None:
    """No later batch is touched, and each host left alone names the batch that failed."""
    plan = make_plan(Wanted("carbon"), Wanted("boron", batch=1), Wanted("argon", batch=2))
    ended = Run(plan, driven(plan, smoke_carbon=LOOKS_BAD)).results
    assert ended["boron"].outcome is Outcome.SKIPPED
    assert ended["boron"].message == "every host of batch 1 failed, so batch 2 was left alone"
    assert ended["argon"].message == "every host of batch 1 failed, so batch 3 was left alone"


def test_a_batch_that_partly_fails_does_not_end_the_run() -> None:
    """One good host in a batch lets the next one start."""
    plan = make_plan(Wanted("carbon"), Wanted("boron"), Wanted("argon", batch=1))
    ended = Run(plan, driven(plan, switch_carbon=BAD)).results
    assert ended["argon"].outcome is Outcome.DEPLOYED


def test_hosts_that_are_left_out_are_in_the_results() -> None:
    """Unreachable, blocked, failed and unchanged hosts each have their own outcome."""
    plan = make_plan(Wanted("carbon", action=Action.UNCHANGED))
    failures = [
        Failure(message, host="x", stage="facts") for message in ("no route", "pin", "eval")
    ]
    a, b, c = failures
    plan = replace(plan, unreachable={"a": a}, blocked={"b": b}, failed={"c": c})
    assert Run(plan, {}).is_finished
    ended = Run(plan, {}).results
    assert {name: result.outcome for name, result in ended.items()} == {
        "carbon": Outcome.UNCHANGED,
        "a": Outcome.UNREACHABLE,
        "b": Outcome.SKIPPED,
        "c": Outcome.FAILED,
    }
    assert ended["a"].message == "no route"
    assert [ended[name].failure for name in "abc"] == failures


def test_the_goal_build_only_builds() -> None:
    """A build run sends builds alone, and its hosts end built or failed."""
    plan = make_plan(Wanted("carbon", llama="cuda"), Wanted("boron", llama="cpu"), goal=Goal.BUILD)
    assert not Run(plan, {}).settled_results
    records = driven(plan, build_cuda=BAD)
    assert {key.step for key in records} == {Step.BUILD}
    ended = Run(plan, records).results
    assert ended["boron"].outcome is Outcome.BUILT
    assert ended["boron"].is_good
    assert ended["boron"].current == output("old-boron")
    assert ended["carbon"].outcome is Outcome.FAILED


@pytest.mark.parametrize("step", [Step.SMOKE, Step.ROLLBACK])
def test_a_damaged_report_is_one_clear_error(step: Step) -> None:
    """A report in the journal that is none names the host and the step."""
    plan = make_plan(Wanted("carbon"))
    records = driven(plan, switch_carbon=BAD) if step is Step.ROLLBACK else driven(plan)
    records[StepKey(step, "carbon")] = StepRecord(StepState.DONE, 1, report={"host": 3})
    with pytest.raises(PayloadError) as caught:
        _ = Run(plan, records).results
    assert (caught.value.host, caught.value.stage) == ("carbon", step)


wanted_hosts = st.lists(
    st.builds(
        Wanted,
        name=st.sampled_from(["argon", "boron", "carbon", "neon"]),
        batch=st.integers(0, 2),
        llama=st.sampled_from(["cpu", "cuda"]),
        action=st.sampled_from([Action.DEPLOY, Action.DEPLOY, Action.UNCHANGED]),
    ),
    min_size=1,
    unique_by=lambda host: host.name,
)

PREREQUISITES = {
    Step.SWITCH: Step.COPY,
    Step.SMOKE: Step.SWITCH,
    Step.CONFIRM: Step.SMOKE,
}


def check_sent(plan: Plan, key: StepKey, records: Records) -> None:
    """Check that a step was sent neither twice nor before what it needs."""
    assert key not in records
    if key.step is Step.BUILD:
        after = plan.build(DerivationPath(key.subject)).depends_on
        needed = StepKey(Step.BUILD, after) if after else None
    elif key.step is Step.COPY:
        needed = StepKey(Step.BUILD, derivation(f"system-{key.subject}"))
    elif key.step is Step.ROLLBACK:
        assert Run(plan, records).host(key.subject).must_roll_back
        return
    else:
        needed = StepKey(PREREQUISITES[key.step], key.subject)
    assert needed is None or records[needed].state is StepState.DONE


def check_ended(plan: Plan, records: Records) -> None:
    """Check that every host ended as its own steps say."""
    ended = Run(plan, records).results
    for host in plan.hosts:
        result = ended[host.name]
        sent = steps_of(records, host.name)
        confirmed = records.get(StepKey(Step.CONFIRM, host.name))
        deployed = confirmed is not None and confirmed.state is StepState.DONE
        assert (result.outcome is Outcome.DEPLOYED) == deployed
        assert (Step.ROLLBACK in sent) == (Step.SWITCH in sent and not deployed)
        assert (host.action is Action.UNCHANGED) == (result.outcome is Outcome.UNCHANGED)
        build = Run(plan, records).failed_build(host.evaluation.toplevel_drv)
        assert build is None or not sent
        if result.outcome is Outcome.SKIPPED and plan.goal is Goal.SWITCH:
            assert set(sent) <= {Step.COPY}
            assert "was left alone" in result.message


@settings(max_examples=300, deadline=None)
@given(
    hosts=wanted_hosts, goal=st.sampled_from([Goal.SWITCH, Goal.SWITCH, Goal.BUILD]), data=st.data()
)
def test_every_run_ends_well_whatever_fails(
    hosts: list[Wanted], goal: Goal, data: st.DataObject
) -> None:
    """Whatever fails in whatever order, the run ends and no host stays half-way."""
    plan = make_plan(*hosts, goal=goal)
    records: Records = {}
    running: list[StepKey] = []
    for _ in range(len(plan.builds) + 5 * len(plan.hosts) + 1):
        for key in Run(plan, records).next_steps:
            check_sent(plan, key, records)
            records[key] = StepRecord(StepState.SENT, 1)
            running.append(key)
        if not running:
            break
        ended = running.pop(data.draw(st.integers(0, len(running) - 1)))
        answers = [GOOD, GOOD, BAD] + ([LOOKS_BAD] if ended.step is Step.SMOKE else [])
        records[ended] = record(ended, data.draw(st.sampled_from(answers)))
        assert Run(plan, records).is_finished == (not running and not Run(plan, records).next_steps)
    assert Run(plan, records).is_finished
    check_ended(plan, records)


def test_a_cancelled_run_begins_nothing() -> None:
    """Nothing is sent for hosts that have not begun, and their builds are left alone too."""
    run = Run(make_plan(Wanted("carbon"), Wanted("boron")), {}, Control.CANCEL)
    assert run.next_steps == ()
    assert run.is_finished
    assert {result.outcome for result in run.results.values()} == {Outcome.SKIPPED}
    assert {result.message for result in run.results.values()} == {"the run was cancelled"}


@pytest.mark.parametrize("goal", Goal)
def test_a_stopped_build_fails_no_host(goal: Goal) -> None:
    """A host whose build a cancelled run stopped was left alone, it did not fail."""
    plan = make_plan(Wanted("carbon"), goal=goal)
    build = StepKey(Step.BUILD, plan.builds[0].derivation)
    stopped = StepRecord(StepState.FAILED, 1, error=Failure("the run was cancelled"))
    run = Run(plan, {build: stopped}, Control.CANCEL)
    assert run.host("carbon").result.outcome is Outcome.SKIPPED


def test_a_cancelled_run_brings_hosts_that_have_begun_to_an_end() -> None:
    """Between switch and confirm a host goes on: smoke, then confirm or back."""
    plan = make_plan(Wanted("carbon"), Wanted("boron", batch=1))
    steps = (StepKey(Step.COPY, "carbon"), StepKey(Step.SWITCH, "carbon"))
    builds = tuple(StepKey(Step.BUILD, build.derivation) for build in plan.builds)
    records = {key: record(key, GOOD) for key in (*builds, *steps)}
    while sent := Run(plan, records, Control.CANCEL).next_steps:
        records |= {key: record(key, GOOD) for key in sent}
    assert steps_of(records, "carbon")[-2:] == [Step.SMOKE, Step.CONFIRM]
    ended = Run(plan, records, Control.CANCEL).results
    assert (ended["carbon"].outcome, ended["boron"].outcome) == (Outcome.DEPLOYED, Outcome.SKIPPED)


def rebooting(plan: Plan, *hosts: str, **groups: tuple[str, ...]) -> Plan:
    """Return a plan in which these hosts may reboot, and the groups of its machines."""
    return replace(plan, reboots=Reboots(hosts, groups))


def confirmed(plan: Plan, *hosts: str, **answers: str) -> Records:
    """Return the records of a plan some of whose hosts have come to their confirmation."""
    records = driven(replace(plan, reboots=Reboots()), **answers)
    return {
        key: done
        for key, done in records.items()
        if key.step in (Step.BUILD, Step.COPY) or key.subject in hosts
    }


def test_a_host_that_may_reboots_after_its_confirmation() -> None:
    """The reboot is its last step; others have none, and neither has another goal."""
    plan = rebooting(make_plan(Wanted("carbon"), Wanted("boron")), "carbon")
    records = driven(plan)
    way = [Step.COPY, Step.SWITCH, Step.SMOKE, Step.CONFIRM]
    assert steps_of(records, "carbon") == [*way, Step.REBOOT]
    assert steps_of(records, "boron") == way
    assert {one.outcome for one in Run(plan, records).results.values()} == {Outcome.DEPLOYED}
    tested = rebooting(make_plan(Wanted("carbon"), goal=Goal.TEST), "carbon")
    assert Step.REBOOT not in steps_of(driven(tested), "carbon")


def test_machines_of_a_group_reboot_one_after_another() -> None:
    """A second one waits for the first one's end; a machine of another group doesn't."""
    three = (Wanted("carbon"), Wanted("boron"), Wanted("nitrogen"))
    groups = {"gpu": ("carbon", "boron"), "servers": ("nitrogen",)}
    names = ("carbon", "boron", "nitrogen")
    plan = rebooting(make_plan(*three), *names, **groups)
    records = confirmed(plan, *names)
    first = StepKey(Step.REBOOT, "carbon")
    assert Run(plan, records).next_steps == (first, StepKey(Step.REBOOT, "nitrogen"))
    records |= {first: StepRecord(StepState.STARTED, 1)}
    assert Run(plan, records).next_steps == (StepKey(Step.REBOOT, "nitrogen"),)
    records |= {first: record(first, GOOD)}
    assert StepKey(Step.REBOOT, "boron") in Run(plan, records).next_steps


def test_no_host_reboots_while_the_rest_of_its_group_is_changing() -> None:
    """A machine that is being switched is out of service, too."""
    both = (Wanted("carbon"), Wanted("boron"))
    plan = rebooting(make_plan(*both), "carbon", "boron", gpu=("carbon", "boron"))
    records = confirmed(plan, "carbon")
    records |= {StepKey(Step.SWITCH, "boron"): StepRecord(StepState.STARTED, 1)}
    assert Run(plan, records).next_steps == ()
    apart = rebooting(plan, "carbon", gpu=("carbon",), servers=("boron",))
    assert Run(apart, records).next_steps == (StepKey(Step.REBOOT, "carbon"),)


@pytest.mark.parametrize("lost", [{"switch_boron": BAD, "rollback_boron": BAD}, {}])
def test_the_last_machine_of_a_group_stays_up(lost: dict[str, str]) -> None:
    """If the others are lost for good it is deployed, and what needs a reboot is told."""
    both = (Wanted("boron"), Wanted("carbon"))
    plan = rebooting(make_plan(*both), "boron", "carbon", gpu=("carbon", "boron"))
    records = confirmed(plan, "carbon", "boron", **lost)
    if not lost:
        key = StepKey(Step.REBOOT, "boron")
        records[key] = record(key, BAD)
    copied = CopyReport("carbon", 1, 1, "direct", ("kernel", "initrd"))
    report = dict(msgspec.to_builtins(copied))
    records[StepKey(Step.COPY, "carbon")] = StepRecord(StepState.DONE, 1, report=report)
    assert Run(plan, records).is_finished
    result = Run(plan, records).results["carbon"]
    assert result.outcome is Outcome.DEPLOYED
    assert result.message == (
        "it needs a reboot (no other host of gpu is in service): kernel, initrd"
    )
    assert "carbon" in Run(plan, records).settled_results


def test_a_failed_reboot_needs_manual_repair() -> None:
    """It is not rolled back by itself: the new system is the boot default."""
    plan = rebooting(make_plan(Wanted("carbon")), "carbon")
    records = driven(plan, reboot_carbon=BAD)
    assert steps_of(records, "carbon")[-1] is Step.REBOOT
    result = Run(plan, records).results["carbon"]
    assert (result.outcome, result.verdict) == (Outcome.FAILED, Verdict.NEEDS_REPAIR)
    assert result.message == "reboot broke"
    assert result.current is None


def test_what_fails_a_check_after_its_reboot_runs_its_new_system() -> None:
    """It needs manual repair, and it is known what runs there."""
    plan = rebooting(make_plan(Wanted("carbon")), "carbon")
    records = driven(plan, reboot_carbon=BAD)
    error = RebootedError("it fails", host="carbon").failure
    key = StepKey(Step.REBOOT, "carbon")
    records[key] = replace(records[key], error=error)
    result = Run(plan, records).results["carbon"]
    assert (result.outcome, result.verdict) == (Outcome.FAILED, Verdict.NEEDS_REPAIR)
    assert result.current == plan.hosts[0].evaluation.toplevel


def test_a_cancelled_run_reboots_no_host() -> None:
    """A host that has confirmed by then is deployed."""
    plan = rebooting(make_plan(Wanted("carbon")), "carbon")
    run = Run(plan, confirmed(plan, "carbon"), Control.CANCEL)
    assert run.is_finished
    assert run.host("carbon").result.outcome is Outcome.DEPLOYED


def test_a_paused_run_begins_nothing_and_is_not_finished() -> None:
    """A host between switch and confirm goes on; builds, copies and switches are held back."""
    plan = make_plan(Wanted("carbon"), Wanted("boron"))
    assert Run(plan, {}, Control.PAUSE).next_steps == ()
    assert not Run(plan, {}, Control.PAUSE).is_finished
    builds = tuple(StepKey(Step.BUILD, build.derivation) for build in plan.builds)
    steps = (StepKey(Step.COPY, "carbon"), StepKey(Step.SWITCH, "carbon"))
    records = {key: record(key, GOOD) for key in (*builds, *steps)}
    assert Run(plan, records, Control.PAUSE).next_steps == (StepKey(Step.SMOKE, "carbon"),)


def test_a_run_that_waits_between_two_batches_is_not_finished() -> None:
    """While the pause lasts nothing runs and nothing can be sent, and yet the rest follows."""
    plan = make_plan(Wanted("carbon"), Wanted("boron", batch=1))
    plan = replace(plan, policy=Policy(batch_pause=30.0))
    later = (StepKey(Step.SWITCH, "boron"), StepKey(Step.SMOKE, "boron"))
    records = {
        key: replace(done, ended_at=100.0)
        for key, done in driven(plan).items()
        if key not in (*later, StepKey(Step.CONFIRM, "boron"))
    }
    waits = Run(plan, records, now=129.0)
    assert (waits.next_steps, waits.is_finished) == ((), False)
    assert [notice.event for notice in waits.notices] == ["batch_pause"]
    assert Run(plan, records, now=130.0).next_steps == later[:1]


def test_a_host_of_a_run_says_where_it_stands() -> None:
    """Phase, next step and result of each host are asked of one look at the run."""
    plan = make_plan(Wanted("carbon"), Wanted("boron"), Wanted("argon", action=Action.UNCHANGED))
    records = driven(plan, switch_carbon=BAD)
    del records[StepKey(Step.ROLLBACK, "carbon")], records[StepKey(Step.CONFIRM, "boron")]
    run = Run(plan, records)
    phases = {name: (host.phase, host.next_step) for name, host in run.hosts.items() if host.moves}
    assert phases == {
        "carbon": (Phase.GOING_BACK, Step.ROLLBACK),
        "boron": (Phase.CHANGING, Step.CONFIRM),
    }
    assert [host.name for host in run.settled] == ["argon"]
    assert run.host("argon").next_step is None
    with pytest.raises(KeyError):
        run.host("neon")


def test_steps_that_were_taken_back_are_as_never_sent() -> None:
    """A run without some of its steps would send them again."""
    plan = make_plan(Wanted("carbon"))
    (first, *_) = Run(plan, {}).next_steps
    sent = Run(plan, {first: StepRecord(StepState.SENT, 1)})
    assert sent.next_steps == ()
    assert sent.without([first]).next_steps == (first,)
