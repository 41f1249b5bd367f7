"""Read back what a run did, from its plan and its journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.deploy.rollout.run import Run
from orchestrator.errors import PayloadError
from orchestrator.model.history import BuildRecord, HostRecord, RunHeader, RunRecord
from orchestrator.model.journal import Step, StepKey, StepState
from orchestrator.model.report import BuildReport, HostResult, Outcome
from orchestrator.model.store import StorePath
from orchestrator.state.host_locks import later_runs
from orchestrator.state.journal import Journal
from orchestrator.state.runs import runs

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from orchestrator.deploy.rollout.host_run import HostRun
    from orchestrator.model.event import Event
    from orchestrator.model.plan import Build, Plan


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One line of a list of runs.

    `results` are None if the run has not ended; then `next_step` says what to do about it.
    """

    run: str
    header: RunHeader
    results: Mapping[str, HostResult] | None
    next_step: str = ""

    @property
    def outcomes(self) -> dict[Outcome, int]:
        """How many hosts ended how; nothing if the run has not ended."""
        counted = Counter(result.outcome for result in (self.results or {}).values())
        return {outcome: counted[outcome] for outcome in Outcome if outcome in counted}


def summaries(client: redis.Redis, project: str) -> Iterator[RunSummary]:
    """Yield the runs of a project that are kept, the newest first.

    Raises:
        PayloadError: an entry was damaged.
    """
    for run in runs(client, project):
        journal = Journal(client, run)
        results = journal.results()
        next_step = how_to_go_on(run, read_open(journal)) if results is None else ""
        yield RunSummary(run, journal.header(), results, next_step)


def read_run(journal: Journal) -> RunRecord:
    """Read all that is kept of a run except its events.

    Raises:
        PayloadError: there is no such run, or an entry was damaged.
    """
    return run_record(Run.of(journal.plan(), journal.look()), journal.results())


def run_record(run: Run, results: Mapping[str, HostResult] | None) -> RunRecord:
    """Join a run with what came of it. Pure.

    Args:
        run: as it stands.
        results: how it ended; None if it has not: what is settled already counts
            then.
    """
    plan = run.plan
    known = results if results is not None else run.settled_results
    ends = [record.ended_at for record in run.records.values()]
    return RunRecord(
        run=plan.run,
        origin=plan.origin,
        goal=plan.goal,
        ended_at=None if results is None else max(ends, default=plan.origin.started_at),
        hosts=tuple(
            _host_record(run.hosts.get(name), name, known.get(name)) for name in plan.target_names
        ),
        builds=tuple(_build_record(build, run) for build in plan.builds),
    )


def _host_record(host: HostRun | None, name: str, result: HostResult | None) -> HostRecord:
    """Return the record of a target; one that was left out of the plan has no host in it."""
    return HostRecord(
        host=name,
        result=result,
        stage=(host and host.last_step) or "",
        wanted=host.plan.evaluation.toplevel if host else None,
        reason=host.plan.choice.reason if host else "",
        smoke=host.smoke if host else None,
    )


def _build_record(build: Build, run: Run) -> BuildRecord:
    key = StepKey(Step.BUILD, build.derivation)
    record = run.build_record(build.derivation)
    built = record is not None and record.state is StepState.DONE
    report = record.report_as(BuildReport, key) if record is not None and built else None
    failure = record.error if record is not None else None
    return BuildRecord(
        derivation=build.derivation,
        output=build.output,
        state=record.state if record is not None else "",
        builder=report.builder if report else build.builder,
        seconds=report.seconds if report else None,
        was_valid=report is not None and report.was_valid,
        message=failure.message if failure else "",
        failure=failure,
    )


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run that has not ended, and where it is with one host.

    Args:
        run: its id.
        stage: the last stage that was sent for the host, empty if none was.
        previous: the host's old system in it.
        wanted: its new one.
        later: the later run that has taken the host since; empty if none has.
    """

    run: str
    stage: str
    previous: StorePath | None
    wanted: StorePath
    later: str = ""

    def describe(self, running: StorePath | None) -> str:
        """Describe which of the two a host runs, and that this may not stay so. Pure."""
        if self.later:
            return f"run {self.run}, which has not ended, is superseded there by run {self.later}"
        names = {self.previous: "its old system", self.wanted: "its new system, unconfirmed"}
        at = f"at {self.stage}" if self.stage else "before its first stage"
        return f"run {self.run} is {at} there, on {names.get(running, 'neither of its systems')}"


def read_open(journal: Journal) -> dict[str, OpenRun]:
    """Return the hosts that an open run has not brought to an end, and where it is with them.

    Nothing if its plan can't be read: the states of other hosts stay right.
    """
    try:
        plan = journal.plan()
        later = later_runs(journal.client, plan.run, (host.target for host in plan.hosts))
        run = Run.of(plan, journal.look())
    except PayloadError:
        return {}
    return {
        host.name: OpenRun(
            journal.run,
            host.last_step or "",
            host.plan.previous,
            host.plan.evaluation.toplevel,
            later.get(host.name, ""),
        )
        for host in run.hosts.values()
        if not host.is_settled
    }


def how_to_go_on(run: str, hosts: Mapping[str, OpenRun]) -> str:
    """Say what to do about a run that has not ended. Pure.

    Args:
        run: its id.
        hosts: those that it has not brought to an end.
    """
    later = {host.later for host in hosts.values()}
    if hosts and "" not in later:
        return f"superseded by {', '.join(sorted(later))}: end it with `orchestrate cancel {run}`"
    return f"go on with `orchestrate resume {run}`"


def is_about(event: Event, host: str, plan: Plan) -> bool:
    """Whether an event is about a host, or about a build that it needs. Pure.

    A build's events have its builder's name.
    """
    if event.host == host:
        return True
    needed = {build.derivation for build in plan.builds if host in build.hosts}
    return event.body.derivation in needed
