"""A run that had nothing to do is remembered, though no server was there when it ended."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from click.testing import CliRunner

from orchestrator.cli.history import history, logs, show
from orchestrator.cli.init import inventory_text
from orchestrator.deploy.import_spool import import_spooled_runs
from orchestrator.deploy.rollout.run import Run
from orchestrator.deploy.spool import SpooledRun, spool_run, waiting_runs
from orchestrator.model.event import FactsRead, RunFinished, event_now
from orchestrator.model.plan import Action, Origin
from orchestrator.model.report import HostResult, Outcome
from orchestrator.state.journal import Journal
from orchestrator.state.runs import last_results, runs
from orchestrator.workspace import spool_directory
from tasks.broker import answers, open_client
from tests.plans import Wanted, make_plan

if TYPE_CHECKING:
    from pathlib import Path

    import click
    import pytest

    from tests.engine.conftest import Engine

DAY = 24 * 3600


def ended(run: str, days_ago: float = 0.0) -> SpooledRun:
    """Return a run of ada's that found carbon as it should be."""
    origin = Origin("ada@desk", time.time() - days_ago * DAY, "deploy fleet", keep_days=3)
    plan = make_plan(Wanted("carbon", action=Action.UNCHANGED), run=run)
    plan = replace(plan, origin=origin)
    known = Run(plan, {}).results
    looked = event_now(run, "carbon", "facts", FactsRead())
    return SpooledRun(plan, known, (looked, event_now(run, "", "", RunFinished(known))))


def told(engine: Engine, directory: Path, command: click.Command, *args: str) -> str:
    """Return what a command prints that opens the broker."""
    inventory = directory / "inventory.yml"
    inventory.write_text(inventory_text(("carbon",), ("forge",), ".", "root"))
    options = ["--inventory", str(inventory), "--broker", engine.broker]
    done = CliRunner().invoke(command, [*args, *options], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_who_opens_the_broker_next_brings_it_the_run(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is listed, shown and told like any other, once, and kept from when it began."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    directory = spool_directory(engine.broker)
    assert directory != spool_directory(None)
    spool_run(directory, ended("20250101-aa", days_ago=1))
    for _ in range(2):
        (line,) = told(engine, tmp_path, history).splitlines()
        assert line.startswith("20250101-aa  ")
        assert line.endswith("ada@desk  deploy fleet: 1 unchanged")
    assert waiting_runs(directory) == []
    assert "carbon: unchanged" in told(engine, tmp_path, show, "last")
    lines = told(engine, tmp_path, logs, "last", "--json").splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["stage_finished", "run_finished"]
    client = open_client(engine.broker)
    assert last_results(client)["carbon"][0] == "20250101-aa"
    for key in client.keys("orchestrate:run:20250101-aa:*"):
        assert 1.9 * DAY < client.ttl(key) <= 2 * DAY


def test_a_later_end_stays_the_last(engine: Engine, tmp_path: Path) -> None:
    """Where a run has ended since, what waited is history and no more."""
    client = open_client(engine.broker)
    later = make_plan(Wanted("carbon"), run="20250102-bb")
    Journal(client, later.run).create(later)
    Journal(client, later.run).save_results({"carbon": HostResult(Outcome.DEPLOYED)})
    spool_run(tmp_path / "kept", ended("20250101-aa"))
    import_spooled_runs(client, tmp_path / "kept")
    assert last_results(client)["carbon"][0] == "20250102-bb"
    assert set(runs(client)) == {"20250101-aa", "20250102-bb"}


def test_what_is_over_or_damaged_is_forgotten(engine: Engine, tmp_path: Path) -> None:
    """A run older than its days and a file that is none stop no command, and go."""
    directory = tmp_path / "kept"
    spool_run(directory, ended("20250101-aa", days_ago=4))
    (directory / "20250102-bb.json").write_text("{")
    spool_run(directory, ended("20250103-cc"))
    client = open_client(engine.broker)
    import_spooled_runs(client, directory)
    assert runs(client) == ("20250103-cc",)
    assert waiting_runs(directory) == []


def test_a_half_written_run_is_written_anew(engine: Engine, tmp_path: Path) -> None:
    """Who was killed in the middle has left no results; no event is there twice."""
    client = open_client(engine.broker)
    once = ended("20250101-aa")
    journal = Journal(client, once.plan.run)
    journal.create(once.plan)
    journal.emit(once.events[0])
    spool_run(tmp_path, once)
    import_spooled_runs(client, tmp_path)
    kept = [event.event for _, event in journal.events("0", 0.0)]
    assert kept == ["stage_finished", "run_finished"]


def test_a_lost_server_finds_them_the_next_time(tmp_path: Path) -> None:
    """Nothing is thrown away that was not written."""
    spool_run(tmp_path, ended("20250101-aa"))
    import_spooled_runs(open_client("redis://127.0.0.1:1/0"), tmp_path)
    assert len(waiting_runs(tmp_path)) == 1


def test_a_broker_that_is_down_is_known_at_once(engine: Engine) -> None:
    """No command waits for one longer than it is worth."""
    assert answers(engine.broker, 2.0)
    began = time.monotonic()
    assert not answers("redis://127.0.0.1:1/0", 2.0)
    # An address of documentation (RFC 5737): packets to it vanish, or are refused.
    assert not answers("redis://192.0.2.1/0", 0.2)
    assert time.monotonic() - began < 2.0


def test_only_so_many_runs_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that never opens its broker doesn't fill its disk; the oldest go first."""
    monkeypatch.setattr("orchestrator.deploy.spool.MOST_KEPT", 2)
    for run in ("20250101-aa", "20250102-bb", "20250103-cc"):
        spool_run(tmp_path, ended(run))
    assert [file.stem for file in waiting_runs(tmp_path)] == ["20250102-bb", "20250103-cc"]


def test_what_was_told_while_planning_is_kept_and_not_told_twice(engine: Engine) -> None:
    """The journal's stream begins with it; a driver goes on behind it."""
    plan = make_plan(Wanted("carbon"))
    looked = event_now(plan.run, "carbon", "facts", FactsRead())
    journal = engine.journal(plan)
    journal.create(plan)
    heard = journal.emit(looked)
    with engine.worker():
        engine.drive(plan, after=heard)
    kept = [event for _, event in journal.events("0", 0.0)]
    assert kept[0] == looked
    assert kept[1:] == engine.events
