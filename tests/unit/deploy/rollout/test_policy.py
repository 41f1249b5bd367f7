"""Which hosts may begin and which are left alone, by tables and by whole runs with random ends."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inventory.rollout import Rollout
from orchestrator.deploy.rollout.policy import HostState, Phase, decide
from orchestrator.deploy.rollout.run import Run
from orchestrator.errors import Failure, FailureKind
from orchestrator.model.journal import Step, StepKey, StepRecord, StepState
from orchestrator.model.policy import Cap, Policy
from orchestrator.model.report import HostResult, Outcome, RollbackReport, SmokeReport, Verdict
from orchestrator.model.variant import Backend, Variant
from orchestrator.stages.plan.batches import in_batches
from tests.plans import Wanted, host_plan, make_plan, output

if TYPE_CHECKING:
    from orchestrator.model.plan import Plan

BUDGET = "more hosts failed than orchestrate_max_failures allows (1), so it was left alone"
READY = Phase.READY
WAITING = Phase.WAITING
DEPLOYED = Phase.DEPLOYED
ROLLED_BACK = Phase.ROLLED_BACK


def standings(*hosts: tuple[Wanted, Phase], ended_at: float = 0.0) -> list[HostState]:
    """Return where hosts stand."""
    return [HostState(host_plan(wanted), phase, ended_at) for wanted, phase in hosts]


def fleet(*phases: Phase, size: int = 100) -> list[HostState]:
    """Return hosts h0, h1, … of one package in these phases, so many a batch."""
    named = enumerate(phases)
    return standings(*((Wanted(f"h{n}", batch=n // size), phase) for n, phase in named))


@pytest.mark.parametrize(
    ("policy", "hosts", "begin", "left_alone"),
    [
        (Policy(), fleet(READY, WAITING, READY), {"h0", "h2"}, {}),
        (Policy(), fleet(DEPLOYED, READY, READY, size=2), {"h1"}, {}),
        (Policy(), fleet(DEPLOYED, Phase.CHANGING, READY, size=2), set(), {}),
        (Policy(), fleet(ROLLED_BACK, DEPLOYED, READY, size=2), {"h2"}, {}),
        (
            Policy(),
            fleet(ROLLED_BACK, READY, size=1),
            set(),
            {"h1": "every host of batch 1 failed, so batch 2 was left alone"},
        ),
        (Policy(canary=True), fleet(READY, READY), {"h0"}, {}),
        (Policy(canary=True), fleet(WAITING, READY), set(), {}),
        (Policy(canary=True), fleet(Phase.CHANGING, READY), set(), {}),
        (Policy(canary=True), fleet(DEPLOYED, READY, READY), {"h1", "h2"}, {}),
        # One that failed before it changed has tried nothing: the next one is the canary.
        (Policy(canary=True), fleet(Phase.FAILED, READY, READY), {"h1"}, {}),
        (Policy(canary=True), fleet(Phase.UNREACHABLE, READY, READY), {"h1"}, {}),
        (
            Policy(canary=True),
            fleet(Phase.GOING_BACK, READY),
            set(),
            {"h1": "h0 failed with the same cpu package, so it was left alone"},
        ),
        # A package that was proven stays so.
        (Policy(canary=True), fleet(DEPLOYED, ROLLED_BACK, READY), {"h2"}, {}),
        (Policy(max_failures=1), fleet(ROLLED_BACK, READY), {"h1"}, {}),
        (Policy(max_failures=1), fleet(ROLLED_BACK, Phase.FAILED, WAITING), set(), {"h2": BUDGET}),
        (
            Policy(max_failures=1),
            fleet(Phase.OUT_OF_SERVICE, Phase.GOING_BACK, Phase.CHANGING, READY),
            set(),
            {"h3": BUDGET},
        ),
        (Policy(max_failures=0), fleet(Phase.UNREACHABLE, READY), {"h1"}, {}),
        (
            Policy(max_unreachable=0),
            fleet(Phase.UNREACHABLE, READY),
            set(),
            {
                "h1": "more hosts are unreachable than orchestrate_max_unreachable allows (0),"
                " so it was left alone"
            },
        ),
    ],
)
def test_who_begins_and_who_is_left_alone(
    policy: Policy, hosts: list[HostState], begin: set[str], left_alone: dict[str, str]
) -> None:
    """Batches, canaries and budgets hold back exactly the hosts that they say."""
    decision = decide(policy, hosts, (), math.inf)
    assert set(decision.may_begin) == begin
    assert decision.left_alone == left_alone


def test_a_refuted_package_goes_no_further_without_canaries() -> None:
    """Once a smoke test spoke against a package, no host begins with it unless one proved it."""
    refuted, *rest = fleet(ROLLED_BACK, READY, READY)
    refuted = replace(refuted, refutes=True)
    alone = "h0 failed with the same cpu package, so it was left alone"
    decision = decide(Policy(), [refuted, *rest], (), math.inf)
    assert decision.left_alone == {"h1": alone, "h2": alone}
    proven = replace(rest[0], phase=DEPLOYED)
    assert decide(Policy(), [refuted, proven, rest[1]], (), math.inf).may_begin == {"h2"}


@pytest.mark.parametrize(
    ("most", "phases", "begin", "alone"),
    [
        (1, (READY, READY, READY), {"h0", "h2"}, set()),
        (2, (READY, READY, READY), {"h0", "h1", "h2"}, set()),
        (1, (WAITING, READY, READY), {"h1", "h2"}, set()),
        (1, (Phase.CHANGING, READY, READY), {"h2"}, set()),
        (1, (Phase.GOING_BACK, READY, READY), {"h2"}, set()),
        (1, (ROLLED_BACK, READY, READY), {"h1", "h2"}, set()),
        (1, (Phase.FAILED, READY, READY), {"h1", "h2"}, set()),
        (1, (Phase.OUT_OF_SERVICE, READY, READY), {"h2"}, {"h1"}),
        (1, (Phase.UNREACHABLE, READY, READY), {"h2"}, {"h1"}),
        (1, (READY, READY, Phase.OUT_OF_SERVICE), {"h0"}, set()),
    ],
)
def test_a_group_keeps_enough_hosts_in_service(
    most: int, phases: tuple[Phase, ...], begin: set[str], alone: set[str]
) -> None:
    """Of h0 and h1 so many at most change or are out of service; h2 is in no group."""
    policy = Policy(caps=(Cap("servers", ("h0", "h1"), most),))
    decision = decide(policy, fleet(*phases), (), math.inf)
    assert set(decision.may_begin) == begin
    assert set(decision.left_alone) == alone


def test_a_group_counts_hosts_that_did_not_answer() -> None:
    """A server that was unreachable from the start is out of service too, and named."""
    policy = Policy(caps=(Cap("servers", ("h0", "gone"), 1),))
    decision = decide(policy, fleet(READY), ("gone",), math.inf)
    assert "gone of servers out of service already" in decision.left_alone["h0"]


def test_a_variants_budget_is_its_own() -> None:
    """One variant's failures leave that variant's rest alone, are told once, and no more."""
    policy = Policy(max_failures_per_variant={Variant.CPU: 0, Variant.VULKAN: 0})
    gpu = {"llama": "vulkan", "variant": Variant.VULKAN}
    hosts = standings(
        (Wanted("a"), ROLLED_BACK),
        (Wanted("b"), READY),
        (Wanted("c", **gpu), READY),  # type: ignore[arg-type]
    )
    decision = decide(policy, hosts, (), math.inf)
    assert decision.may_begin == {"c"}
    assert decision.left_alone == {
        "b": "more cpu hosts failed than orchestrate_max_failures_per_variant allows (0),"
        " so it was left alone"
    }
    (notice,) = decision.notices
    assert (notice.event, notice.subject) == ("budget_spent", "cpu")
    assert notice.message.endswith("allows (0): the rest is left alone")


@pytest.mark.parametrize(
    ("serial", "begin"), [(("100%",), {"c"}), ((2, "100%"), set()), ((1,), set())]
)
def test_failed_canaries_end_a_run_only_where_batches_were_asked_for(
    serial: tuple[int | str, ...], begin: set[str]
) -> None:
    """By default another variant goes on; with a serial a batch without a good host ends all."""
    hosts = standings(
        (Wanted("a", canary=True), ROLLED_BACK),
        (Wanted("b", batch=1), READY),
        (Wanted("c", batch=1, llama="vulkan", variant=Variant.VULKAN, canary=True), READY),
    )
    decision = decide(Policy(serial=serial, canary=True), hosts, (), math.inf)
    assert decision.may_begin == begin
    assert decision.left_alone["b"].startswith("a failed with the same cpu package")


def test_a_batch_that_was_left_alone_is_no_failed_batch() -> None:
    """Followers of a failed canary, which were left alone, don't end what comes after them."""
    hosts = standings(
        (Wanted("a", canary=True), ROLLED_BACK),
        (Wanted("x", llama="vulkan", variant=Variant.VULKAN, canary=True), DEPLOYED),
        (Wanted("b", batch=1), READY),
        (Wanted("y", batch=2, llama="vulkan", variant=Variant.VULKAN), READY),
    )
    decision = decide(Policy(serial=(2, 1), canary=True), hosts, (), math.inf)
    assert set(decision.may_begin) == {"y"}
    assert set(decision.left_alone) == {"b"}


@pytest.mark.parametrize(("now", "begin"), [(129.0, set()), (130.0, {"b"})])
def test_a_pause_begins_at_the_end_of_a_batch(now: float, begin: set[str]) -> None:
    """The next batch waits by the journal's time, and the wait is told."""
    hosts = [
        *standings((Wanted("a"), DEPLOYED), ended_at=100.0),
        *standings((Wanted("b", batch=1), READY), ended_at=105.0),
    ]
    decision = decide(Policy(batch_pause=30.0), hosts, (), now)
    assert decision.may_begin == begin
    assert decision.may_begin | decision.paused == {"b"}
    told = [(notice.event, notice.message) for notice in decision.notices]
    assert (
        told == [] if begin else [("batch_pause", "batch 2 begins 30 s after the last one's end")]
    )


def test_no_pause_follows_a_batch_in_which_no_host_changed() -> None:
    """What failed before it changed needs no time to settle."""
    unreachable = standings((Wanted("a"), Phase.FAILED), (Wanted("a2"), DEPLOYED), ended_at=50.0)
    only_failed = [*unreachable[:1], *standings((Wanted("b", batch=1), READY))]
    policy = Policy(batch_pause=30.0, serial=("100%",), canary=True)
    canary = [replace(one, host=replace(one.host, canary=True)) for one in only_failed]
    assert decide(policy, canary, (), 51.0).may_begin == {"b"}


# What a step of a simulated run may end with, besides going well.
BAD_ENDS = {
    Step.BUILD: ("fails",),
    Step.COPY: ("fails", "unreachable"),
    Step.SWITCH: ("fails",),
    Step.SMOKE: ("fails", "says no"),
    Step.CONFIRM: ("fails",),
    Step.ROLLBACK: ("fails", "degraded"),
}


def ended(key: StepKey, end: str, now: float) -> StepRecord:
    """Return the record of a step that ended so."""
    if end in {"fails", "unreachable"}:
        kind = FailureKind.UNREACHABLE if end == "unreachable" else FailureKind.FAILED
        error = Failure(f"{key.step} broke", host=key.subject, kind=kind)
        return StepRecord(StepState.FAILED, 1, ended_at=now, error=error)
    report: dict[str, Any] = {}
    if key.step is Step.SMOKE:
        failure = "" if end == "well" else "it says nothing"
        smoke = SmokeReport(key.subject, end == "well", Backend.CPU, "", 9.0, 9.0, "", failure)
        report = msgspec.to_builtins(smoke)
    if key.step is Step.ROLLBACK:
        verdict = Verdict.ROLLED_BACK if end == "well" else Verdict.DEGRADED
        report = msgspec.to_builtins(RollbackReport(key.subject, verdict, output("old"), None, "x"))
    return StepRecord(StepState.DONE, 1, ended_at=now, report=report)


policies = st.builds(
    Policy,
    canary=st.booleans(),
    batch_pause=st.sampled_from([0.0, 5.0]),
    caps=st.lists(
        st.builds(
            Cap,
            group=st.just("group"),
            hosts=st.sets(st.sampled_from("abcdefg"), min_size=1).map(tuple),
            most=st.integers(1, 2),
        ),
        max_size=2,
    ).map(tuple),
    max_failures=st.sampled_from([None, None, 0, 1, 2]),
    max_failures_per_variant=st.dictionaries(
        st.sampled_from([Variant.CPU, Variant.VULKAN]), st.integers(0, 2)
    ),
    max_unreachable=st.sampled_from([None, None, 0, 1]),
)
serials = st.just(["100%"]) | st.lists(
    st.sampled_from([1, 2, 3, "40%", "100%"]), min_size=1, max_size=3
)
wanted_hosts = st.lists(
    st.tuples(st.sampled_from("abcdefg"), st.sampled_from([Variant.CPU, Variant.VULKAN])),
    min_size=1,
    unique_by=lambda host: host[0],
)


def plan_of(
    hosts: list[tuple[str, Variant]], serial: list[int | str], policy: Policy, *, apart: bool
) -> Plan:
    """Return a plan of hosts whose package is their variant's.

    Canaries have batches of their own only if they are kept apart: the
    policy has to hold without that.
    """
    plan = make_plan(*(Wanted(name, llama=variant, variant=variant) for name, variant in hosts))
    rollout = Rollout(serial=tuple(serial), canary=policy.canary and apart)
    placed = in_batches(plan.hosts, rollout)
    policy = replace(policy, serial=rollout.serial)
    left_out = {"z": Failure("no answer", host="z")}
    return replace(plan, hosts=placed, policy=policy, unreachable=left_out)


def check_begin(plan: Plan, name: str, records: dict[StepKey, StepRecord], now: float) -> None:
    """Check that a host begins while every rule of the policy allows it."""
    policy = plan.policy
    mine = plan.host(name)
    run = Run(plan, records)
    others = [host.state for host in run.hosts.values() if host.name != name]
    failed = [one.host.choice.variant for one in others if one.phase.has_failed]
    mates = [one for one in others if one.host.package == mine.package and one.phase.has_begun]
    earlier = [one for one in others if one.host.batch < mine.batch]
    assert not any(one.phase.in_transition for one in earlier)
    if policy.canary and mates:
        assert any(one.phase is DEPLOYED for one in mates)
    assert policy.max_failures is None or len(failed) <= policy.max_failures
    limit = policy.max_failures_per_variant.get(mine.choice.variant, math.inf)
    assert failed.count(mine.choice.variant) <= limit
    first = not any(one.host.batch == mine.batch and one.phase.has_begun for one in others)
    if first:
        ends = [one.ended_at for one in earlier if one.phase.has_begun]
        assert now >= max(ends, default=-math.inf) + policy.batch_pause


def check_caps(plan: Plan, records: dict[StepKey, StepRecord]) -> None:
    """Check that no group has too many hosts in transition, with those it has lost."""
    phases = {name: host.phase for name, host in Run(plan, records).hosts.items()}
    for cap in plan.policy.caps:
        mine = [phases[name] for name in cap.hosts if name in phases]
        changing = sum(phase.in_transition for phase in mine)
        assert changing + mine.count(Phase.OUT_OF_SERVICE) <= cap.most


def simulate(plan: Plan, data: st.DataObject) -> dict[StepKey, StepRecord]:
    """Run a plan to its end, each step ending at a random time in a random way."""
    records: dict[StepKey, StepRecord] = {}
    settled: dict[str, HostResult] = {}
    now = 0.0
    while not Run(plan, records).is_finished:
        now += data.draw(st.sampled_from([1.0, 3.0]))
        for key in Run(plan, records, now=now).next_steps:
            if key.step is Step.SWITCH:
                check_begin(plan, key.subject, records, now)
            records[key] = StepRecord(StepState.SENT, 1, sent_at=now)
        check_caps(plan, records)
        running = [key for key, record in records.items() if not record.state.is_final]
        if running:
            key = data.draw(st.sampled_from(running))
            ends = ("well", "well", "well", *BAD_ENDS[key.step])
            records[key] = ended(key, data.draw(st.sampled_from(ends)), now)
        for name, result in Run(plan, records).settled_results.items():
            assert settled.setdefault(name, result).outcome is result.outcome
        assert now < 1000
    assert set(Run(plan, records).settled_results) == {host.name for host in plan.hosts}
    return records


@settings(max_examples=300, deadline=None)
@given(hosts=wanted_hosts, serial=serials, policy=policies, apart=st.booleans(), data=st.data())
def test_a_run_keeps_its_policy_whatever_happens(
    hosts: list[tuple[str, Variant]],
    serial: list[int | str],
    policy: Policy,
    *,
    apart: bool,
    data: st.DataObject,
) -> None:
    """No limit is ever broken, no follower goes before its canary, and every host ends once."""
    plan = plan_of(hosts, serial, policy, apart=apart)
    records = simulate(plan, data)
    run = Run(plan, records)
    left_alone = run.left_alone
    found = run.results
    assert set(found) == {"z", *(host.name for host in plan.hosts)}
    for host in plan.hosts:
        outcome = found[host.name].outcome
        phase = run.host(host.name).phase
        assert phase.has_ended == (host.name not in left_alone)
        assert (outcome is Outcome.SKIPPED) == (host.name in left_alone)
        assert (outcome is Outcome.DEPLOYED) == (phase is DEPLOYED)
        assert (outcome is Outcome.UNREACHABLE) == (phase is Phase.UNREACHABLE)
        if outcome is Outcome.SKIPPED:
            assert "left alone" in found[host.name].message
            assert not any(StepKey(step, host.name) in records for step in list(Step)[2:])
