"""One run changes a host at a time: locks on a real server, two drivers, real workers."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from inventory.host import Connection, Host, JumpHost
from orchestrator.cli.init import inventory_text
from orchestrator.cli.unlock import command as unlock
from orchestrator.errors import PayloadError, UsageError
from orchestrator.model.journal import Step, StepKey, StepState
from orchestrator.model.plan import Origin, Plan
from orchestrator.model.report import Outcome, Verdict
from orchestrator.state.host_locks import HostLocks, find_lock, place_of
from tasks.app import STEP_TASK, make_app
from tests.engine.conftest import wait_until
from tests.plans import Wanted, make_plan, output

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engine.conftest import Engine

CARBON = Host("carbon", Connection("carbon"), nixos_name="carbon")
SWITCH = StepKey(Step.SWITCH, "carbon")


def plan_of(run: str, *names: str) -> Plan:
    """Return a plan of ada's."""
    plan = make_plan(*map(Wanted, names), run=run)
    return replace(plan, origin=Origin("ada@desk", command="deploy fleet"))


def locks_of(engine: Engine, run: str, seconds: float = 60.0) -> HostLocks:
    """Return the locks as a run takes them."""
    return HostLocks(engine.journal(plan_of(run, "carbon")), seconds)


def test_one_run_has_a_host_at_a_time(engine: Engine) -> None:
    """The second is told whose it is, and has it with a newer token once it is released."""
    first, second = locks_of(engine, "run-1"), locks_of(engine, "run-2")
    mine = first.take(CARBON, "ada@desk").lock
    assert first.take(CARBON, "ada@desk").lock.token == mine.token
    held = second.take(CARBON, "bob@desk").lock
    assert (held.run, held.author, held.token) == ("run-1", "ada@desk", mine.token)
    first.release("carbon", output("new"))
    assert not first.renew("carbon")
    taken = second.take(CARBON, "bob@desk").lock
    assert (taken.run, taken.previous_run, taken.previous_left) == ("run-2", "run-1", output("new"))
    assert taken.token > mine.token


def test_a_lock_that_is_not_renewed_ends(engine: Engine) -> None:
    """While it is renewed it lasts; then another run has it and the first one hasn't."""
    first, second = locks_of(engine, "run-1", 0.4), locks_of(engine, "run-2")
    first.take(CARBON, "ada@desk")
    for _ in range(3):
        time.sleep(0.2)
        assert first.renew("carbon")
    assert second.take(CARBON, "bob@desk").lock.run == "run-1"
    time.sleep(0.5)
    assert second.take(CARBON, "bob@desk").lock.run == "run-2"
    assert not first.renew("carbon")


def test_a_run_takes_its_own_lock_again(engine: Engine) -> None:
    """Resumed after its lock ended, a run goes on as before, if no other run had it."""
    locks = locks_of(engine, "run-1", 0.1)
    token = locks.take(CARBON, "ada@desk").lock.token
    time.sleep(0.2)
    again = locks.take(CARBON, "ada@desk")
    assert (again.lock.token, again.overtaken) == (token, False)
    time.sleep(0.2)
    other = locks_of(engine, "run-2")
    other.take(CARBON, "bob@desk")
    other.release("carbon", "")
    assert locks.take(CARBON, "ada@desk").overtaken


def test_a_worker_with_an_old_token_does_nothing(engine: Engine) -> None:
    """The message of a run that has lost the host is not begun, whatever its step's token."""
    plan = plan_of("run-1", "carbon")
    journal = engine.journal(plan)
    journal.create(plan)
    HostLocks(journal, 0.1).take(CARBON, "ada@desk")
    time.sleep(0.2)
    locks_of(engine, "run-2").take(CARBON, "bob@desk")
    args = (plan.run, str(SWITCH), journal.send(SWITCH))
    probe = (
        plan.run,
        str(StepKey(Step.COPY, "carbon")),
        journal.send(StepKey(Step.COPY, "carbon")),
    )
    app = make_app(engine.broker)
    for message in (args, probe):
        app.send_task(STEP_TASK, args=message, queue="deploy")
    app.close()
    with engine.worker():
        engine.wait_for(plan, "copy_closure:carbon")
        time.sleep(0.3)
    assert engine.ran(plan) == ["copy_closure:carbon"]
    assert journal.records()[SWITCH].state is StepState.SENT


def test_two_runs_of_one_host_go_one_after_the_other(engine: Engine) -> None:
    """The second run waits, says once for whom, and switches when the first has ended."""
    one, two = plan_of("run-1", "slow"), plan_of("run-2", "slow", "carbon")
    with engine.worker(), engine.driving(one) as first:
        engine.wait_for(one, "switch:slow")
        with engine.driving(two) as second:
            confirmed = StepKey(Step.CONFIRM, "carbon")
            wait_until(lambda: confirmed in engine.journal(two).records())
            assert "switch:slow" not in engine.ran(two)
    assert {result.outcome for result in (*first.values(), *second.values())} == {Outcome.DEPLOYED}
    ended = engine.journal(one).records()[StepKey(Step.CONFIRM, "slow")].ended_at
    assert engine.journal(two).records()[StepKey(Step.SWITCH, "slow")].ended_at > ended
    (waits,) = [event for event in engine.events if event.event == "waits_for_lock"]
    assert (waits.run, waits.host, waits.line()["holder"]) == ("run-2", "slow", "run-1")
    assert waits.body.sentence.startswith("run run-1 of ada@desk has held its host lock since ")


def test_a_dead_run_holds_no_run_up_for_long(engine: Engine) -> None:
    """A run whose driver and worker are dead loses the host, and another one goes on."""
    locks_of(engine, "run-1", 0.5).take(CARBON, "ada@desk")
    plan = plan_of("run-2", "carbon")
    with engine.worker():
        ended = engine.run(plan)
    assert ended["carbon"].outcome is Outcome.DEPLOYED


def test_an_overtaken_run_undoes_nothing(engine: Engine) -> None:
    """What another run has changed since is neither confirmed nor put back by a resumed one."""
    plan = plan_of("run-1", "carbon")
    journal = engine.journal(plan)
    journal.create(plan)
    HostLocks(journal, 0.1).take(CARBON, "ada@desk")
    for key in (*(StepKey(Step.BUILD, build.derivation) for build in plan.builds), SWITCH):
        token = journal.send(key)
        assert token is not None
        assert journal.claim(key, token)
        assert journal.finish(key, token, {})
    time.sleep(0.2)
    other = locks_of(engine, "run-2")
    other.take(CARBON, "bob@desk")
    other.release("carbon", output("theirs"))
    with engine.worker():
        ended = engine.drive(plan)
    assert engine.ran(plan) == ["copy_closure:carbon"]
    assert ended["carbon"].verdict is Verdict.UNTOUCHED
    assert ended["carbon"].current == output("theirs")
    assert "superseded by run run-2, which has changed it since" in ended["carbon"].message


def test_a_switch_starts_from_what_another_run_left(engine: Engine) -> None:
    """The automatic rollback leads to what a host ran before its switch, whatever was planned."""
    plan = plan_of("run-1", "carbon", "boron")
    journal = engine.journal(plan)
    journal.create(plan)
    journal.set_previous("carbon", output("theirs"))
    assert journal.plan().host("carbon").previous == output("theirs")
    assert journal.plan().host("boron") == plan.host("boron")
    with engine.worker():
        ended = engine.drive(plan)
    assert ended["carbon"].previous == output("theirs")
    lock = find_lock(journal.client, CARBON)
    assert lock is not None
    assert (lock.ends_at, lock.left) == (0.0, output("system-carbon"))


def test_unlock_says_whose_it_is(engine: Engine, tmp_path: Path) -> None:
    """A living run keeps its lock unless forced, a silent one's is freed, and both are named."""
    inventory = tmp_path / "inventory.yml"
    inventory.write_text(inventory_text(("carbon",), (), ".", "root"))
    options = ["carbon", "--inventory", str(inventory), "--broker", engine.broker]

    def said(*more: str) -> str:
        done = CliRunner().invoke(unlock, [*options, *more], catch_exceptions=False)
        assert done.exit_code == 0
        return done.output

    assert said() == "carbon: no run has its lock\n"
    locks = locks_of(engine, "run-1")
    locks.take(CARBON, "ada@desk")
    with pytest.raises(UsageError, match="run run-1 of ada@desk has its lock") as caught:
        said()
    assert "orchestrate cancel run-1" in caught.value.hint
    assert said("--force").endswith("; freed\n")
    assert not locks.renew("carbon")
    # A lock whose last sign was 30 s ago.
    locks_of(engine, "run-2", 30.0).take(CARBON, "bob@desk")
    assert "run run-2 of bob@desk" in (freed := said())
    assert freed.endswith("(last sign 30 s ago); freed\n")


def test_a_damaged_lock_is_one_clear_error(engine: Engine) -> None:
    """A foreign value there is named, with how to be rid of it."""
    client = locks_of(engine, "run-1").journal.client
    client.hset("orchestrate:locks", "carbon:22", b"[]")
    with pytest.raises(PayloadError, match="the lock of carbon:22") as caught:
        find_lock(client, CARBON)
    assert caught.value.hint.endswith("HDEL orchestrate:locks 'carbon:22'")


def test_a_place_is_where_a_host_is_reached() -> None:
    """Two names of one address share a lock; two ports, or two jump hosts, don't."""
    twin = replace(CARBON, name="c", connection=Connection("CARBON"))
    port = replace(CARBON, connection=Connection("carbon", port=2222))
    jump = replace(CARBON, connection=Connection("carbon", jump=JumpHost("gate")))
    assert place_of(twin) == place_of(CARBON)
    assert len({place_of(host) for host in (CARBON, port, jump)}) == 3
