"""A run's journal in Redis: its plan, where each step stands, what happened.

Every step has a fencing token that grows each time the step is sent. Only the
holder of the current token may begin or end it, so a message that is delivered
twice, or a worker that comes back from the dead, changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import redis

from orchestrator.errors import PayloadError
from orchestrator.model.event import Event
from orchestrator.model.history import RunHeader
from orchestrator.model.journal import (
    LEASE_SECONDS,
    Control,
    Step,
    StepKey,
    StepRecord,
    StepState,
)
from orchestrator.model.plan import Origin, Plan
from orchestrator.model.report import HostResult
from orchestrator.model.store import StorePath, parse_store_path
from orchestrator.state.codec import as_text, read_back

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from orchestrator.errors import Failure

UNCLAIMED_SECONDS = 60.0
"""How long a sent step waits for a worker before it is sent again."""

DRIVER_SECONDS = 5.0
"""How long a driver that gives no sign is taken to be alive; it gives one a second."""

EVENTS_KEPT = 20_000
"""Events that a run's stream holds; a long build's log is bounded by this."""

RUNS = "orchestrate:runs"
"""The ids of all runs, by when they began."""

_FIRST = StepRecord(StepState.SENT)
"""What stands for a step that was never sent: token 0."""

_WITHDRAWN = b"withdrawn"

T = TypeVar("T")

# Lets a key of a run expire with the run's plan. KEYS[1] is the key, KEYS[2] the
# plan; ARGV[1] is how long it is kept if there is no plan, in milliseconds.
_EXPIRE_WITH_PLAN = """
local left = redis.call('PTTL', KEYS[2])
redis.call('PEXPIRE', KEYS[1], left > 0 and left or ARGV[1])
"""

# Compares a step's record and writes it, in one step. KEYS[1] is the run's hash
# of records, KEYS[2] the step's lease; ARGV[1] the field; ARGV[2] and ARGV[3] the
# token and the state that the record must have, token 0 for no record at all;
# ARGV[4] when it must have been sent at the earliest; ARGV[5] the new record,
# empty to leave it, `withdrawn` to take it away; ARGV[6] the lease in
# milliseconds, 0 to end it; ARGV[7] is `unleased` if no worker may be at work on
# the step.
_WRITE_IF_CURRENT = """
if ARGV[7] == 'unleased' and redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
local found = redis.call('HGET', KEYS[1], ARGV[1])
if found then
  local record = cjson.decode(found)
  if record.token ~= tonumber(ARGV[2]) then return 0 end
  if record.state ~= ARGV[3] then return 0 end
  if record.sent_at < tonumber(ARGV[4]) then return 0 end
elseif ARGV[2] ~= '0' then
  return 0
end
if ARGV[5] == 'withdrawn' then
  redis.call('HDEL', KEYS[1], ARGV[1])
elseif ARGV[5] ~= '' then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[5])
end
if tonumber(ARGV[6]) > 0 then
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[6])
else
  redis.call('DEL', KEYS[2])
end
return 1
"""


def last_results_of(project: str) -> str:
    """Name what holds the last result of each host of a project, and the run it comes from."""
    return f"orchestrate:hosts:{project}" if project else "orchestrate:hosts"


@dataclass(frozen=True, slots=True)
class RunState:
    """A run as its journal has it at one moment.

    Args:
        control: what the run was told, if anything.
        previous: which hosts ran another system before their switch, and which.
        records: where each step stands.
        now: when that was, in seconds of the server's clock.
    """

    control: Control | None
    previous: Mapping[str, StorePath]
    records: dict[StepKey, StepRecord]
    now: float


@dataclass(frozen=True, slots=True)
class Journal:
    """The journal of one run, on a connected client that returns bytes."""

    client: redis.Redis
    run: str
    lease_seconds: float = LEASE_SECONDS

    def create(self, plan: Plan, began: float | None = None) -> None:
        """Write the plan; a run begins with this.

        Whatever is noted of the run from now on expires with its plan, so that
        only the command that begins it has to know for how long it is kept.

        Args:
            plan: the run's.
            began: when it did, in seconds since the epoch; None for now.
        """
        now = time.time()
        began = now if began is None else began
        expiry = max(1, int(began + plan.origin.keep_seconds - now))
        header = RunHeader(plan.origin, plan.goal, plan.target_names)
        pipeline = self.client.pipeline(transaction=True)
        pipeline.set(self.key("plan"), msgspec.json.encode(plan), ex=expiry)
        pipeline.set(self.key("header"), msgspec.json.encode(header), ex=expiry)
        pipeline.zadd(RUNS, {self.run: began})
        pipeline.execute()

    def header(self) -> RunHeader:
        """Read who began the run, and with what; a fraction of the plan's size.

        Raises:
            PayloadError: there is none, or it was damaged.
        """
        found = self.client.get(self.key("header"))
        if found is None:
            raise _no_run(self.run)
        return read_header(self.run, found)

    def plan(self) -> Plan:
        """Read the plan back, each host's previous system as it was when it was switched.

        Raises:
            PayloadError: there is none, or it was damaged.
        """
        found = self.client.get(self.key("plan"))
        if found is None:
            raise _no_run(self.run)
        return _read_plan(self.run, found).with_previous(self.previous())

    def set_previous(self, host: str, previous: StorePath) -> None:
        """Note that a host ran another system before its switch than when it was planned."""
        self.client.hset(self.key("previous"), host, previous)
        self.expire_with_plan(self.client, "previous")

    def previous(self) -> dict[str, StorePath]:
        """Read which hosts ran another system before their switch, and which.

        Raises:
            PayloadError: an entry was damaged.
        """
        return _read_previous(self.client.hgetall(self.key("previous")))

    def records(self) -> dict[StepKey, StepRecord]:
        """Read where every step stands that was ever sent.

        Raises:
            PayloadError: an entry was damaged.
        """
        return self._read_records(self.client.hgetall(self.key("steps")))

    def look(self) -> RunState:
        """Read all that a driver decides by, in one round trip.

        Raises:
            PayloadError: an entry was damaged.
        """
        pipeline = self.client.pipeline(transaction=True)
        pipeline.get(self.key("control"))
        pipeline.hgetall(self.key("previous"))
        pipeline.hgetall(self.key("steps"))
        pipeline.time()
        control, previous, steps, clock = pipeline.execute()
        return RunState(
            self._read_control(control),
            _read_previous(previous),
            self._read_records(steps),
            _seconds(clock),
        )

    def _read_records(self, found: Any) -> dict[StepKey, StepRecord]:  # noqa: ANN401 - redis-py's
        return dict(_read_record(self.run, field, value) for field, value in found.items())

    def send(self, key: StepKey, seen: StepRecord | None = None) -> int | None:
        """Note that a step is being sent and return its new fencing token.

        Args:
            key: the step.
            seen: its record as the caller last read it, None for none.

        Returns:
            None if the record is another by now, because a worker ended the step
            or a second driver has sent it, and if its worker has come back with
            a sign of life.
        """
        before = seen or _FIRST
        record = StepRecord(StepState.SENT, before.token + 1, sent_at=self.now())
        if not self._write(key, before, record, unleased=True):
            return None
        self.expire_with_plan(self.client, "steps")
        return record.token

    def claim(self, key: StepKey, token: int) -> bool:
        """Begin a step.

        False if another worker began it, the token is old, or the message is: one
        that outlived its driver must not touch a host hours later.
        """
        before = StepRecord(StepState.SENT, token, sent_at=self.now() - UNCLAIMED_SECONDS)
        record = StepRecord(StepState.STARTED, token)
        if not self._write(key, before, record, self.lease_seconds):
            return False
        pipeline = self.client.pipeline(transaction=False)
        pipeline.hincrby(self.key("attempts"), str(key), 1)
        self.expire_with_plan(pipeline, "attempts")
        pipeline.execute()
        return True

    def attempts(self, key: StepKey) -> int:
        """Count how often a step was begun; its token counts how often it was sent."""
        found: Any = self.client.hget(self.key("attempts"), str(key))
        return int(found or 0)

    def finish(self, key: StepKey, token: int, report: dict[str, Any]) -> bool:
        """End a step well; False if the token is not the current one any more."""
        record = StepRecord(StepState.DONE, token, ended_at=self.now(), report=report)
        return self._write(key, StepRecord(StepState.STARTED, token), record)

    def fail(self, key: StepKey, token: int, error: Failure) -> bool:
        """End a step badly; False if the token is not the current one any more."""
        record = StepRecord(StepState.FAILED, token, ended_at=self.now(), error=error)
        return self._write(key, StepRecord(StepState.STARTED, token), record)

    def withdraw(self, key: StepKey, seen: StepRecord) -> bool:
        """Take back a step that was sent; False if a worker has ever begun it.

        A worker that receives its message finds no record, and drops it.
        """
        unbegun = seen.state is StepState.SENT and self.attempts(key) == 0
        return unbegun and self._write(key, seen, _WITHDRAWN, unleased=True)

    def heartbeat(self, key: StepKey, token: int) -> bool:
        """Renew the lease of a step that runs; False if it runs elsewhere by now."""
        return self._write(key, StepRecord(StepState.STARTED, token), None, self.lease_seconds)

    def lost(self, records: Mapping[StepKey, StepRecord]) -> tuple[StepKey, ...]:
        """Return the steps that have to be sent again.

        Those that were begun and whose worker gives no sign any more, and those
        that no worker began for long: their message may be lost. If it isn't, its
        token is old by the time it arrives.
        """
        running = [(key, record) for key, record in records.items() if not record.state.is_final]
        if not running:
            return ()
        pipeline = self.client.pipeline(transaction=False)
        for key, _ in running:
            pipeline.exists(self._lease(key))
        leased = pipeline.execute()
        oldest = self.now() - UNCLAIMED_SECONDS
        return tuple(
            key
            for (key, record), lease in zip(running, leased, strict=True)
            if (not lease if record.state is StepState.STARTED else record.sent_at < oldest)
        )

    def now(self) -> float:
        """Return the server's time, the one clock that drivers and workers share."""
        return now(self.client)

    def emit(self, *events: Event) -> str:
        """Append events to the run's stream; return the last one's id, `0` if there is none."""
        pipeline = self.client.pipeline(transaction=False)
        for event in events:
            pipeline.xadd(
                self.key("events"),
                {b"event": msgspec.json.encode(event)},
                maxlen=EVENTS_KEPT,
                approximate=True,
            )
        self.expire_with_plan(pipeline, "events")
        *numbers, _ = pipeline.execute()
        return as_text(numbers[-1]) if numbers else "0"

    def events(self, after: str, wait_seconds: float) -> Iterator[tuple[str, Event]]:
        """Yield the events behind the id `after`, waiting a while for the first."""
        wait = max(1, int(wait_seconds * 1000))
        answer: Any = self.client.xread({self.key("events"): after}, block=wait)
        # RESP2 answers with a list of pairs, RESP3 with a mapping.
        streams = answer.items() if isinstance(answer, dict) else answer or ()
        for _, found in streams:
            entries = found[0] if found and isinstance(found[0], list) else found
            for number, fields in entries:
                event = _read_back(fields.get(b"event", b""), Event, f"an event of run {self.run}")
                yield number.decode(), event

    def save_results(
        self, results: dict[str, HostResult], newest: Collection[str] | None = None
    ) -> None:
        """Keep the run's end per host, and each host's last result.

        Args:
            results: how the run ended.
            newest: the hosts on which no later run has ended; None for all.
        """
        last = last_results_of(self.header().origin.project)
        pipeline = self.client.pipeline(transaction=True)
        pipeline.set(self.key("results"), msgspec.json.encode(results))
        self.expire_with_plan(pipeline, "results")
        for host, result in results.items():
            if newest is None or host in newest:
                pipeline.hset(last, host, msgspec.json.encode((self.run, result)))
        pipeline.execute()

    def results(self) -> dict[str, HostResult] | None:
        """Read how the run ended for each host; None if it has not ended.

        Raises:
            PayloadError: it was damaged.
        """
        found = self.client.get(self.key("results"))
        if found is None:
            return None
        return _read_back(found, dict[str, HostResult], f"the results of run {self.run}")

    def set_control(self, control: Control | None) -> None:
        """Tell drivers and workers, who look for it every second; None to go on."""
        if control is None:
            self.client.delete(self.key("control"))
        else:
            pipeline = self.client.pipeline(transaction=True)
            pipeline.set(self.key("control"), control.value)
            self.expire_with_plan(pipeline, "control")
            pipeline.execute()

    def control(self) -> Control | None:
        """Read what the run was told.

        Raises:
            PayloadError: it was told something unknown.
        """
        return self._read_control(self.client.get(self.key("control")))

    def _read_control(self, found: Any) -> Control | None:  # noqa: ANN401 - redis-py's
        if found is None:
            return None
        try:
            return Control(as_text(found))
        except ValueError as error:
            message = f"run {self.run} was told {as_text(found)[:60]!r}, which means nothing"
            raise PayloadError(message, hint=f"orchestrate cancel {self.run}") from error

    def is_cancelled(self) -> bool:
        """Whether the run was cancelled."""
        return self.control() is Control.CANCEL

    def note_driver(self) -> None:
        """Note that somebody drives the run; the note ends by itself if nobody does."""
        self.client.set(self.key("driver"), b"1", px=int(DRIVER_SECONDS * 1000))

    def has_driver(self) -> bool:
        """Whether somebody has driven the run in the last seconds."""
        return bool(self.client.exists(self.key("driver")))

    def is_finished(self) -> bool:
        """Whether the run's results were saved."""
        return bool(self.client.exists(self.key("results")))

    def _write(
        self,
        key: StepKey,
        before: StepRecord,
        after: StepRecord | bytes | None,
        lease: float = 0.0,
        *,
        unleased: bool = False,
    ) -> bool:
        """Write a record and its lease if the record is still as it was."""
        written = self.client.eval(
            _WRITE_IF_CURRENT,
            2,
            self.key("steps"),
            self._lease(key),
            str(key),
            before.token,
            before.state.value,
            before.sent_at,
            msgspec.json.encode(after) if isinstance(after, StepRecord) else after or b"",
            int(lease * 1000),
            "unleased" if unleased else "",
        )
        return bool(written)

    def expire_with_plan(self, client: redis.Redis, name: str) -> None:
        """Let a key that was just written expire with the run's plan."""
        unplanned = Origin().keep_seconds * 1000
        client.eval(_EXPIRE_WITH_PLAN, 2, self.key(name), self.key("plan"), unplanned)

    def key(self, name: str) -> str:
        """Name a key of this run in Redis."""
        return f"orchestrate:run:{self.run}:{name}"

    def _lease(self, key: StepKey) -> str:
        return self.key(f"lease:{key}")


def now(client: redis.Redis) -> float:
    """Return a server's time, in seconds since the epoch."""
    return _seconds(client.time())


def _seconds(clock: Any) -> float:  # noqa: ANN401 - redis-py's
    seconds, microseconds = clock
    return float(seconds) + float(microseconds) / 1e6


SEE_HISTORY = "see `orchestrate history` for the runs that are kept"


def read_header(run: str, data: Any) -> RunHeader:  # noqa: ANN401 - redis-py's
    """Read what is kept as the header of a run.

    Raises:
        PayloadError: it was damaged.
    """
    return _read_back(data, RunHeader, f"the header of run {run}")


def _no_run(run: str) -> PayloadError:
    return PayloadError(f"there is no run {run}", hint=SEE_HISTORY)


def parse_step_key(text: str) -> StepKey:
    """Read a step's key as `StepKey.__str__` writes it.

    Raises:
        PayloadError: it names no step.
    """
    name, _, subject = text.partition(":")
    if name not in set(Step) or not subject:
        message = f"expected a step of a run, found {text[:120]!r}"
        raise PayloadError(message)
    return StepKey(Step(name), subject)


def _read_previous(found: Any) -> dict[str, StorePath]:  # noqa: ANN401 - redis-py's
    return {as_text(host): parse_store_path(as_text(path)) for host, path in found.items()}


# Each step reads the plan of all hosts.
@lru_cache(maxsize=16)
def _read_plan(run: str, found: bytes) -> Plan:
    return _read_back(found, Plan, f"the plan of run {run}")


# A driver reads all records whenever one has changed, and they hold long reports. A
# thousand hosts have some ten thousand, and a cache that is too small never hits.
@lru_cache(maxsize=32_768)
def _read_record(run: str, field: bytes, value: bytes) -> tuple[StepKey, StepRecord]:
    step = as_text(field)
    return parse_step_key(step), _read_back(value, StepRecord, f"step {step} of run {run}")


def _read_back(data: bytes | str, kind: type[T], what: str) -> T:
    return read_back(data, kind, what, "start a new run")
