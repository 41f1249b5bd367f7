"""What is kept of runs, read back from a real server by the commands that show it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from click.testing import CliRunner

from orchestrator.cli.history import history, logs, show
from orchestrator.cli.init import inventory_text
from orchestrator.deploy.rollout.run import Run
from orchestrator.deploy.step_events import step_event
from orchestrator.errors import Failure, PayloadError, UsageError
from orchestrator.model.event import LogLine, step_finished
from orchestrator.model.journal import Step, StepKey
from orchestrator.model.plan import Origin, Plan
from orchestrator.model.report import (
    BuildReport,
    CopyReport,
    RollbackReport,
    SmokeReport,
    SwitchReport,
    Verdict,
)
from orchestrator.model.store import derivation_name, parse_derivation_path
from orchestrator.model.variant import Backend
from orchestrator.state.journal import Journal
from orchestrator.state.runs import find_run, runs
from tests.plans import Wanted, make_plan, output

if TYPE_CHECKING:
    from pathlib import Path

    import click

    from orchestrator.model.report import Report
    from tests.engine.conftest import Engine

LOST = Failure(
    message="no answer",
    hint="is it on?",
    host="boron",
    stage="connect",
    command="ssh boron",
    last_lines=("no route to host",),
)
"""Why boron is left out."""

ORIGIN = Origin("ada@desk", 1700000000.0, "deploy fleet", keep_days=3)


class Told:
    """The commands, asked about one server."""

    def __init__(self, engine: Engine, inventory: Path) -> None:
        self.options = ["--inventory", str(inventory), "--broker", engine.broker]

    def text(self, command: click.Command, *args: str) -> str:
        """Return what a command prints."""
        done = CliRunner().invoke(command, [*args, *self.options], catch_exceptions=False)
        assert done.exit_code == 0
        return done.output

    def objects(self, command: click.Command, *args: str) -> list[dict[str, Any]]:
        """Return what a command prints with `--json`."""
        return [json.loads(line) for line in self.text(command, *args, "--json").splitlines()]


@pytest.fixture
def told(engine: Engine, tmp_path: Path) -> Told:
    """Return the commands, with an inventory of carbon and boron."""
    inventory = tmp_path / "inventory.yml"
    inventory.write_text(inventory_text(("carbon", "boron"), ("forge",), ".", "root"))
    return Told(engine, inventory)


def plan_of(run: str, *hosts: str) -> Plan:
    """Return a plan of ada's, in which boron did not answer."""
    plan = make_plan(*map(Wanted, hosts), run=run)
    return replace(plan, origin=ORIGIN, unreachable={"boron": LOST})


def do(journal: Journal, step: Step, subject: str, report: Report) -> None:
    """Do a step as a worker does it, with a log line where it is a build."""
    key = StepKey(step, subject)
    token = journal.send(key)
    assert token is not None
    assert journal.claim(key, token)
    host = "forge" if step is Step.BUILD else subject
    if step is Step.BUILD:
        build = parse_derivation_path(subject)
        line = LogLine(f"cc {derivation_name(build)}.c")
        journal.emit(step_event(journal.run, host, key, line))
    assert journal.finish(key, token, msgspec.to_builtins(report))
    journal.emit(step_event(journal.run, host, key, step_finished(step, report)))


def smoked(host: str) -> SmokeReport:
    """Return the report of a good smoke test."""
    return SmokeReport(host, True, Backend.CPU, "CPU", 80.5, 200.0, "Paris")  # noqa: FBT003


def deployed(engine: Engine, run: str, *hosts: str) -> Plan:
    """Leave a run behind in which these hosts went the whole way."""
    plan = plan_of(run, *hosts)
    journal = engine.journal(plan)
    journal.create(plan)
    for build in plan.builds:
        made = BuildReport(build.derivation, build.output, "forge", 2400.0, was_valid=False)
        do(journal, Step.BUILD, build.derivation, made)
    for host in hosts:
        switched = SwitchReport(host, output(f"old-{host}"), output(f"system-{host}"), 0)
        do(journal, Step.COPY, host, CopyReport(host, 3, 2**20, "forge → it"))
        do(journal, Step.SWITCH, host, switched)
        do(journal, Step.SMOKE, host, smoked(host))
        do(journal, Step.CONFIRM, host, switched)
    journal.save_results(Run(plan, journal.records()).results)
    return plan


def test_runs_are_listed_the_newest_first(engine: Engine, told: Told) -> None:
    """A line a run: who, when, with what, how many ended how; one that hasn't says so."""
    deployed(engine, "20250101-aa", "carbon")
    begun = plan_of("20250102-bb", "carbon")
    engine.journal(begun).create(begun)
    who = "2023-11-14 22:13:20 UTC  ada@desk  deploy fleet"
    assert told.text(history).splitlines() == [
        f"20250102-bb  {who}: not ended: go on with `orchestrate resume 20250102-bb`",
        f"20250101-aa  {who}: 1 deployed, 1 unreachable",
    ]


def test_a_host_has_a_history(engine: Engine, told: Told) -> None:
    """With a host the runs that meant it are listed, with its own line: what, why, how fast."""
    deployed(engine, "run-1", "carbon")
    deployed(engine, "run-2", "neon")
    lines = told.text(history, "carbon").splitlines()
    assert lines[0].startswith("run-1 ")
    done = "deployed, 00000000 → 00000000, cpu (no GPU → cpu)"
    assert lines[1:] == [f"  carbon: {done}, CPU, 80.5 tokens/s, prompt 200.0"]
    assert "boron: unreachable" in told.text(history, "boron")
    # neon isn't in the inventory any more.
    assert told.text(history, "neon").startswith("run-2 ")


def test_history_as_json_has_every_host(engine: Engine, told: Told) -> None:
    """One object a run, with who, when, and the same of each host as `show`."""
    deployed(engine, "run-1", "carbon")
    (line,) = told.objects(history)
    assert (line["run"], line["author"], line["command"]) == ("run-1", "ada@desk", "deploy fleet")
    assert line["outcomes"] == {"deployed": 1, "unreachable": 1}
    assert [host["host"] for host in line["hosts"]] == ["carbon", "boron"]
    assert line["hosts"][0]["smoke"]["tokens_per_second"] == 80.5
    (mine,) = told.objects(history, "carbon")
    assert [host["host"] for host in mine["hosts"]] == ["carbon"]


def test_show_has_all_of_a_run(engine: Engine, told: Told) -> None:
    """From which path to which, the variant and why, the smoke, the builds and their time."""
    deployed(engine, "20250101-aa", "carbon")
    shown = told.text(show, "2025")
    assert f"from     {output('old-carbon')}" in shown
    assert f"to       {output('system-carbon')}" in shown
    assert "variant  cpu: no GPU → cpu" in shown
    assert "smoke    CPU, 80.5 tokens/s, prompt 200.0" in shown
    assert "llama-shared on forge: 2400.0 s" in shown
    left_out = shown.splitlines()[shown.splitlines().index("boron: unreachable") :]
    assert left_out[1:5] == [
        "  message  connect: no answer",
        "           command: ssh boron",
        "           | no route to host",
        "           next: is it on?",
    ]
    (data,) = told.objects(show, "last")
    assert data["hosts"][1]["result"]["message"] == "no answer"
    assert data["hosts"][1]["result"]["failure"] == msgspec.to_builtins(LOST, str_keys=True) | {
        "last_lines": ["no route to host"]
    }
    assert data["hosts"][0]["result"]["outcome"] == "deployed"
    assert data["builds"][0]["builder"] == "forge"


def test_show_of_a_run_under_way(engine: Engine, told: Told) -> None:
    """Who has ended has its outcome, everybody else the stage that it is at."""
    plan = plan_of("run-1", "carbon", "neon")
    journal = engine.journal(plan)
    journal.create(plan)
    do(journal, Step.COPY, "carbon", CopyReport("carbon", 3, 2**20, "forge → it"))
    shown = told.text(show, "run-1")
    assert "not ended: orchestrate resume run-1" in shown
    assert "carbon: copy_closure\n" in shown
    assert "neon: waiting\n" in shown


def test_logs_are_the_events(engine: Engine, told: Told) -> None:
    """Every line of the run, the builds' own too; of one host only what it needed."""
    deployed(engine, "run-1", "carbon", "neon")
    lines = told.text(logs, "last").splitlines()
    assert "forge build: cc llama-shared.c" in lines
    assert "neon smoke: CPU, 80.5 tokens/s" in lines
    mine = told.text(logs, "last", "carbon")
    assert "cc llama-shared.c" in mine
    assert "cc system-carbon.c" in mine
    assert "neon" not in mine
    events = told.objects(logs, "last", "carbon")
    assert {event["run"] for event in events} == {"run-1"}
    assert events[-1]["stage"] == "confirm"


def test_logs_of_an_unknown_host_name_the_known(engine: Engine, told: Told) -> None:
    """A misspelt host is no empty answer."""
    deployed(engine, "run-1", "carbon")
    with pytest.raises(UsageError, match="did not include cabron") as caught:
        told.text(logs, "run-1", "cabron")
    assert "carbon, boron, builder" in caught.value.hint


def test_a_run_is_found_by_its_beginning(engine: Engine) -> None:
    """A unique beginning or `last` is enough; what means none or several is an error."""
    for run in ("20250101-aa", "20250102-ab", "20250102-ab-2"):
        plan = plan_of(run, "carbon")
        engine.journal(plan).create(plan)
    client = engine.journal(make_plan()).client
    assert find_run(client, "20250101") == "20250101-aa"
    assert find_run(client, "20250102-ab") == "20250102-ab"
    assert find_run(client, "last") == "20250102-ab-2"
    with pytest.raises(UsageError, match="matches 3 runs") as caught:
        find_run(client, "2025")
    assert "20250101-aa" in caught.value.hint
    with pytest.raises(UsageError, match="no run 1999") as caught:
        find_run(client, "1999")
    assert "orchestrate history" in caught.value.hint


def test_a_run_is_kept_for_its_own_days(engine: Engine) -> None:
    """Every key of a run expires with its plan; then the run isn't listed any more."""
    plan = deployed(engine, "run-1", "carbon")
    client = engine.journal(plan).client
    # Who knows nothing of the plan, as a worker does.
    back = RollbackReport("carbon", Verdict.ROLLED_BACK, None, None)
    do(Journal(client, "run-1"), Step.ROLLBACK, "carbon", back)
    keys: Any = client.keys("orchestrate:run:run-1:*")
    limit = 3 * 24 * 3600 * 1000
    assert all(limit - 60_000 < client.pttl(key) <= limit for key in keys)
    client.delete("orchestrate:run:run-1:plan")
    assert runs(client) == ()
    assert client.zcard("orchestrate:runs") == 0


def test_a_damaged_header_is_one_clear_error(engine: Engine, told: Told) -> None:
    """A foreign value there is named."""
    plan = plan_of("run-1", "carbon")
    journal = engine.journal(plan)
    journal.create(plan)
    journal.client.set("orchestrate:run:run-1:header", b"{")
    with pytest.raises(PayloadError, match="the header of run run-1"):
        told.text(history)
