"""The ledger of builds in Redis, shared by all runs and controllers of one server.

It makes a derivation be built by one builder at a time however many runs want
it, and remembers what placement asks for: how long builds took, which failed,
and which builder just let one down.

A build that is doubled for a moment is a waste and no harm, since a derivation
has one output wherever it is built: so the lease needs no fencing token.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import redis

from orchestrator.model.ledger import Ledger, RunningBuild
from orchestrator.model.stage import Stage
from orchestrator.model.store import DerivationPath, derivation_name, store_hash
from orchestrator.state.codec import read_back
from orchestrator.state.journal import now
from orchestrator.state.lease import beating

if TYPE_CHECKING:
    from collections.abc import Iterator

LEASE_SECONDS = 10.0
"""How long a build counts as followed after the last sign of who follows it."""

BROKEN_SECONDS = 300.0
"""How long a builder that let a build down is passed over."""

FAILED_SECONDS = 7 * 24 * 3600.0
"""How long a failed build is remembered: after a week its inputs may be had again."""

ABANDONED_SECONDS = 24 * 3600.0
"""After this a build that nobody ended is not thought to run any more."""

_RUNNING = "orchestrate:builds:running"
_SECONDS = "orchestrate:builds:seconds"
_FAILED = "orchestrate:builds:failed"
_BROKEN = "orchestrate:builders:broken"


T = TypeVar("T")

# Take the lease of a build. KEYS[1] is the lease; ARGV[1] the builder that was
# lost, empty for none; ARGV[2] the builder that is to build; ARGV[3] how long the
# lease lasts, in milliseconds. Gives the builder that has it in the end.
_TAKE = """
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return held end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return ARGV[2]
"""


@dataclass(frozen=True, slots=True)
class _Noted:
    """Something worth remembering for a while: what, and when it was noted."""

    text: str
    at: float


@dataclass(frozen=True, slots=True)
class BuildLedger:
    """The ledger on a connected client that returns bytes."""

    client: redis.Redis
    lease_seconds: float = LEASE_SECONDS

    def read(self) -> Ledger:
        """Read all of it.

        Raises:
            PayloadError: an entry was damaged.
        """
        moment = now(self.client)
        running = self._table(_RUNNING, RunningBuild)
        failed = self._table(_FAILED, _Noted)
        broken = self._table(_BROKEN, _Noted)
        return Ledger(
            seconds=self._seconds(),
            running=tuple(
                build for build in running.values() if moment - build.started_at < ABANDONED_SECONDS
            ),
            broken={
                name: noted.text
                for name, noted in broken.items()
                if moment - noted.at < BROKEN_SECONDS
            },
            failed={
                DerivationPath(path): noted.text
                for path, noted in failed.items()
                if moment - noted.at < FAILED_SECONDS
            },
        )

    def take(self, derivation: DerivationPath, builder: str, instead_of: str = "") -> str:
        """Take a build for a builder, unless another one has it already.

        Args:
            derivation: what is to be built.
            builder: where the caller would build it.
            instead_of: the builder that it was taken for and that is lost.

        Returns:
            the builder that has it: the caller's, or one that somebody else took.
        """
        milliseconds = int(self.lease_seconds * 1000)
        lease = _lease(derivation)
        held: Any = self.client.eval(_TAKE, 1, lease, instead_of, builder, milliseconds)
        name = held.decode() if isinstance(held, bytes) else str(held)
        found: Any = self.client.hget(_RUNNING, derivation)
        noted = _read_back(found, RunningBuild, _RUNNING) if found is not None else None
        if noted is None or noted.builder != name:
            entry = RunningBuild(derivation, name, now(self.client))
            self.client.hset(_RUNNING, derivation, msgspec.json.encode(entry))
        return name

    @contextmanager
    def following(self, derivation: DerivationPath, run: str) -> Iterator[None]:
        """Keep the lease, and show that `run` wants this build, while it is followed."""

        def beat() -> None:
            self._show(derivation, run)

        try:
            with beating(beat, f"build {derivation}", self.lease_seconds):
                yield
        finally:
            # After the last beat, which would say that it is wanted still.
            self.client.zrem(_wanted_by(derivation), run)

    def wanted_by_others(self, derivation: DerivationPath, run: str) -> bool:
        """Whether another run follows this build too."""
        key = _wanted_by(derivation)
        self.client.zremrangebyscore(key, 0, now(self.client))
        found: Any = self.client.zrange(key, 0, -1)
        return any(other.decode() != run for other in found)

    def succeeded(self, derivation: DerivationPath, builder: str, seconds: float | None) -> None:
        """Note a good end; `seconds` are None if nothing had to be built."""
        pipeline = self._ended(derivation)
        pipeline.hdel(_FAILED, derivation)
        pipeline.hdel(_BROKEN, builder)
        if seconds is not None:
            field = msgspec.json.encode((derivation_name(derivation), builder))
            pipeline.hset(_SECONDS, field, f"{seconds:.3f}")
        pipeline.execute()

    def failed(self, derivation: DerivationPath, message: str) -> None:
        """Remember that a derivation can't be built, whoever tries it."""
        pipeline = self._ended(derivation)
        pipeline.hset(_FAILED, derivation, msgspec.json.encode(_Noted(message, now(self.client))))
        pipeline.execute()

    def stopped(self, derivation: DerivationPath) -> None:
        """Note that nobody builds it any more, and that this says nothing of it."""
        self._ended(derivation).execute()

    def let_down(self, builder: str, reason: str) -> None:
        """Pass a builder over for a while: it lost a build that it had begun."""
        self.client.hset(_BROKEN, builder, msgspec.json.encode(_Noted(reason, now(self.client))))

    def _ended(self, derivation: DerivationPath) -> Any:  # noqa: ANN401 - redis-py's pipeline is untyped
        pipeline = self.client.pipeline(transaction=True)
        pipeline.hdel(_RUNNING, derivation)
        pipeline.delete(_lease(derivation))
        return pipeline

    def _show(self, derivation: DerivationPath, run: str) -> None:
        until = now(self.client) + self.lease_seconds
        pipeline = self.client.pipeline(transaction=False)
        pipeline.pexpire(_lease(derivation), int(self.lease_seconds * 1000))
        pipeline.zadd(_wanted_by(derivation), {run: until})
        pipeline.pexpire(_wanted_by(derivation), int(self.lease_seconds * 2000))
        pipeline.execute()

    def _seconds(self) -> dict[str, dict[str, float]]:
        found: Any = self.client.hgetall(_SECONDS)
        seconds: dict[str, dict[str, float]] = {}
        for field, value in found.items():
            name, builder = _read_back(field, tuple[str, str], _SECONDS)
            seconds.setdefault(name, {})[builder] = _read_back(value, float, _SECONDS)
        return seconds

    def _table(self, key: str, kind: type[T]) -> dict[str, T]:
        found: Any = self.client.hgetall(key)
        return {name.decode(): _read_back(value, kind, key) for name, value in found.items()}


def _lease(derivation: DerivationPath) -> str:
    return f"orchestrate:build:{store_hash(derivation)}:lease"


def _wanted_by(derivation: DerivationPath) -> str:
    return f"orchestrate:build:{store_hash(derivation)}:wanted-by"


def _read_back(data: bytes, kind: type[T], key: str) -> T:
    return read_back(data, kind, f"an entry of {key}", f"DEL {key} forgets it", Stage.BUILD)
