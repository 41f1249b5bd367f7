"""The journal's fencing: who may begin and end a step."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from orchestrator.errors import Failure, PayloadError
from orchestrator.model.event import Event, Progress, StageStarted, event_now
from orchestrator.model.journal import Step, StepKey, StepState
from orchestrator.model.report import HostResult, Outcome
from orchestrator.state.journal import Journal, parse_step_key
from orchestrator.state.runs import last_results, runs
from tests.plans import Wanted, make_plan

if TYPE_CHECKING:
    from tests.engine.conftest import Engine

SWITCH = StepKey(Step.SWITCH, "carbon")
PLAN = make_plan(Wanted("carbon"))


def again(journal: Journal) -> int:
    """Send a step as a driver does that has read its record."""
    token = journal.send(SWITCH, journal.records().get(SWITCH))
    assert token is not None
    return token


def end_lease(journal: Journal) -> None:
    """End the lease of the switch, as time does when its worker is dead."""
    journal.client.delete(f"orchestrate:run:{journal.run}:lease:{SWITCH}")


def test_a_token_begins_a_step_once(engine: Engine) -> None:
    """The first claim with the current token wins; a second and an old one lose."""
    journal = engine.journal(PLAN)
    old = again(journal)
    new = again(journal)
    assert not journal.claim(SWITCH, old)
    assert journal.claim(SWITCH, new)
    assert not journal.claim(SWITCH, new)
    assert not journal.claim(StepKey(Step.SMOKE, "carbon"), 1)


def test_only_what_never_began_is_withdrawn(engine: Engine) -> None:
    """A step that was sent and not begun is as if never sent; one that was begun once stays."""
    journal = engine.journal(PLAN)
    token = again(journal)
    assert journal.withdraw(SWITCH, journal.records()[SWITCH])
    assert journal.records() == {}
    assert not journal.claim(SWITCH, token)
    assert journal.claim(SWITCH, again(journal))
    assert not journal.withdraw(SWITCH, journal.records()[SWITCH])
    end_lease(journal)
    again(journal)
    assert not journal.withdraw(SWITCH, journal.records()[SWITCH])


def test_an_old_token_ends_nothing(engine: Engine) -> None:
    """Who comes back with an old token can neither end the step nor keep it alive."""
    journal = engine.journal(PLAN)
    old = again(journal)
    assert journal.claim(SWITCH, old)
    end_lease(journal)
    new = again(journal)
    assert journal.claim(SWITCH, new)
    before = journal.records()
    assert not journal.finish(SWITCH, old, {"late": True})
    assert not journal.fail(SWITCH, old, Failure("late"))
    assert not journal.heartbeat(SWITCH, old)
    assert journal.records() == before
    assert journal.finish(SWITCH, new, {"good": True})
    assert not journal.fail(SWITCH, new, Failure("late"))
    assert journal.records()[SWITCH].report == {"good": True}


@pytest.mark.parametrize("well", [True, False])
def test_a_step_that_ended_says_when(engine: Engine, *, well: bool) -> None:
    """Well or badly, a step's end has the server's time, which a pause is counted from."""
    journal = engine.journal(PLAN)
    begun = journal.now()
    token = again(journal)
    assert journal.claim(SWITCH, token)
    assert journal.records()[SWITCH].ended_at == 0.0
    failure = Failure("no")
    assert journal.finish(SWITCH, token, {}) if well else journal.fail(SWITCH, token, failure)
    assert begun <= journal.records()[SWITCH].ended_at <= journal.now()


def test_what_changed_meanwhile_is_not_sent(engine: Engine) -> None:
    """Of two drivers one sends; and a step that ended just now isn't sent again."""
    journal = engine.journal(PLAN)
    token = journal.send(SWITCH)
    assert token == 1
    assert journal.send(SWITCH) is None
    assert journal.claim(SWITCH, token)
    seen = journal.records()[SWITCH]
    assert journal.finish(SWITCH, token, {})
    assert journal.send(SWITCH, seen) is None
    assert journal.records()[SWITCH].state is StepState.DONE


def test_a_step_with_a_lease_is_not_sent_again(engine: Engine) -> None:
    """A worker whose sign of life comes just before the second sending keeps its step."""
    journal = engine.journal(PLAN)
    token = again(journal)
    assert journal.claim(SWITCH, token)
    end_lease(journal)
    seen = journal.records()
    assert journal.lost(seen) == (SWITCH,)
    assert journal.heartbeat(SWITCH, token)
    assert journal.send(SWITCH, seen[SWITCH]) is None
    assert journal.finish(SWITCH, token, {"good": True})


def test_a_heartbeat_is_what_keeps_a_step(engine: Engine) -> None:
    """A step is lost when its lease ends, and a late heartbeat finds it again."""
    journal = Journal(engine.journal(PLAN).client, PLAN.run, lease_seconds=0.2)
    token = again(journal)
    assert journal.claim(SWITCH, token)
    assert journal.lost(journal.records()) == ()
    time.sleep(0.3)
    assert journal.lost(journal.records()) == (SWITCH,)
    assert journal.heartbeat(SWITCH, token)
    assert journal.lost(journal.records()) == ()


def test_all_of_a_run_expires(engine: Engine) -> None:
    """Nothing that a run leaves stays for ever, but its line in the list of runs."""
    journal = engine.journal(PLAN)
    journal.create(PLAN)
    assert journal.claim(SWITCH, again(journal))
    journal.emit(event_now(PLAN.run, "carbon", "switch", StageStarted()))
    journal.save_results({"carbon": HostResult(Outcome.DEPLOYED)})
    keys = journal.client.keys("orchestrate:run:*")
    assert len(list(keys)) == 7
    assert all(journal.client.pttl(key) > 0 for key in keys)
    assert runs(journal.client) == (PLAN.run,)
    assert last_results(journal.client)["carbon"][0] == PLAN.run


def test_an_event_comes_back_as_it_was(engine: Engine) -> None:
    """Events are read in order from behind the last one seen."""
    journal = engine.journal(PLAN)
    emitted = [
        Event(float(number), PLAN.run, "carbon", "", Progress(number)) for number in range(3)
    ]
    for event in emitted:
        journal.emit(event)
    first, *_ = list(journal.events("0", 0.1))
    assert [event for _, event in journal.events("0", 0.1)] == emitted
    assert [event for _, event in journal.events(first[0], 0.1)] == emitted[1:]


def test_a_damaged_event_is_one_clear_error(engine: Engine) -> None:
    """An entry of the stream that is no event names the run."""
    journal = engine.journal(PLAN)
    journal.client.xadd(f"orchestrate:run:{PLAN.run}:events", {"other": "1"})
    with pytest.raises(PayloadError, match="an event of run run-1"):
        list(journal.events("0", 0.1))


@pytest.mark.parametrize("text", ["", "switch", "switch:", "dance:carbon", ":carbon"])
def test_a_key_of_no_step_is_refused(text: str) -> None:
    """What is no step's key never becomes one."""
    with pytest.raises(PayloadError):
        parse_step_key(text)


def test_a_key_is_read_back_as_it_was_written() -> None:
    """Every step's key survives its way through the journal, colons and all."""
    for step in Step:
        key = StepKey(step, "carbon:1")
        assert parse_step_key(str(key)) == key
