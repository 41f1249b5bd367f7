"""The lock of a host in Redis: one run changes it at a time, whoever controls that.

A run takes it before it switches the host and keeps it until the host has come
to an end. It is renewed by the driver and by the worker of every step, and ends
by itself when neither lives. Its fencing token grows with each run that takes
it, so that a worker of a run that has lost the lock does nothing any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.model.host_lock import Acquired, HostLock
from orchestrator.model.stage import Stage
from orchestrator.state.codec import read_back
from orchestrator.state.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Iterable

    import redis

    from inventory.host import Host

LOCK_SECONDS = 60.0
"""How long a lock lasts after the last sign of its run."""

SILENT_SECONDS = 15.0
"""A run that gives no sign for so long is taken for dead; `unlock` frees its locks."""

_LOCKS = "orchestrate:locks"
_TOKENS = "orchestrate:locks:token"

# Take a lock that is free or the run's own. KEYS[1] has the locks by place, KEYS[2]
# counts tokens, KEYS[3] what the run took, by host. ARGV are place, host, run,
# author, now, when it ends. Gives the lock, and 1 where the run had it and has
# been overtaken by another.
_TAKE = """
local found = redis.call('HGET', KEYS[1], ARGV[1])
local lock = found and cjson.decode(found)
local mine = lock and lock.run == ARGV[3]
if lock and not mine and lock.ends_at > tonumber(ARGV[5]) then return {found, 0} end
if not mine then
  local before = lock or {run = '', left = ''}
  lock = {
    run = ARGV[3], author = ARGV[4], since = tonumber(ARGV[5]),
    token = redis.call('INCR', KEYS[2]), previous_run = before.run, previous_left = before.left,
  }
end
lock.ends_at = tonumber(ARGV[6])
lock.left = ''
local had = redis.call('HGET', KEYS[3], ARGV[2])
local overtaken = 0
if had and cjson.decode(had).token ~= lock.token then overtaken = 1 end
local text = cjson.encode(lock)
redis.call('HSET', KEYS[1], ARGV[1], text)
redis.call('HSET', KEYS[3], ARGV[2], cjson.encode({place = ARGV[1], token = lock.token}))
return {text, overtaken}
"""

# Renew or release what a run took, while its token is the newest and the lock was
# not released. KEYS[1] has the locks, KEYS[2] what the run took; ARGV are the host,
# when the lock ends, and the system that is left there. Gives 0 if the run has
# lost it. A run that never took it has nothing to lose.
_WRITE = """
local mine = redis.call('HGET', KEYS[2], ARGV[1])
if not mine then return 1 end
mine = cjson.decode(mine)
local found = redis.call('HGET', KEYS[1], mine.place)
local lock = found and cjson.decode(found)
if not lock or lock.token ~= mine.token or lock.ends_at == 0 then return 0 end
lock.ends_at = tonumber(ARGV[2])
lock.left = ARGV[3]
redis.call('HSET', KEYS[1], mine.place, cjson.encode(lock))
return 1
"""

# End a lock that somebody looked at. KEYS[1] has the locks; ARGV are its place and
# the token that was seen.
_END = """
local found = redis.call('HGET', KEYS[1], ARGV[1])
local lock = found and cjson.decode(found)
if not lock or lock.token ~= tonumber(ARGV[2]) then return 0 end
lock.ends_at = 0
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(lock))
return 1
"""


def place_of(host: Host) -> str:
    """Name what is locked: where a host is reached, whatever an inventory calls it.

    Machine ids are no better: cloned images share them. Two inventories that
    spell one address in two ways do not exclude each other; there the switch
    itself notices that another system runs than was planned for.
    """
    connection = host.connection
    place = f"{connection.address.lower()}:{connection.port}"
    if connection.jump is None:
        return place
    # An address behind a jump host may be somebody else's elsewhere.
    return f"{place} by {connection.jump.address.lower()}:{connection.jump.port}"


@dataclass(frozen=True, slots=True)
class HostLocks:
    """The locks as one run takes them."""

    journal: Journal
    lock_seconds: float = LOCK_SECONDS

    def take(self, host: Host, author: str) -> Acquired:
        """Take a host's lock, or say whose it is.

        Raises:
            PayloadError: the entry was damaged.
        """
        now = self.journal.now()
        place = place_of(host)
        client, run = self.journal.client, self.journal.run
        asked = (place, host.name, run, author, now, now + self.lock_seconds)
        keys = (_LOCKS, _TOKENS, self.journal.key("locks"))
        found, overtaken = client.eval(_TAKE, len(keys), *keys, *asked)
        self.journal.expire_with_plan(client, "locks")
        return Acquired(_read_back(found, place), bool(overtaken))

    def renew(self, host: str) -> bool:
        """Renew the lock of the host called so; False if the run has lost it."""
        return self._write(host, self.journal.now() + self.lock_seconds, "")

    def release(self, host: str, left: str) -> None:
        """Release a host's lock, and note the system that is left there, if it is known."""
        self._write(host, 0.0, left)

    def mine(self, host: Host) -> HostLock | None:
        """Return a host's lock where this run has it.

        Raises:
            PayloadError: the entry was damaged.
        """
        lock = find_lock(self.journal.client, host)
        return lock if lock is not None and lock.run == self.journal.run else None

    def _write(self, host: str, ends_at: float, left: str) -> bool:
        keys = (_LOCKS, self.journal.key("locks"))
        return bool(self.journal.client.eval(_WRITE, len(keys), *keys, host, ends_at, left))


def find_lock(client: redis.Redis, host: Host) -> HostLock | None:
    """Return the lock of a host, ended ones too; None if no run ever took it.

    Raises:
        PayloadError: the entry was damaged.
    """
    place = place_of(host)
    found: Any = client.hget(_LOCKS, place)
    return None if found is None else _read_back(found, place)


def later_runs(client: redis.Redis, run: str, hosts: Iterable[Host]) -> dict[str, str]:
    """Name the hosts that a later run than `run` has taken since, each with that run.

    Ids of runs sort by the time when they began.

    Raises:
        PayloadError: an entry was damaged.
    """
    places = {host.name: place_of(host) for host in hosts}
    if not places:
        return {}
    found: Any = client.hmget(_LOCKS, list(places.values()))
    later = {}
    for (name, place), data in zip(places.items(), found, strict=True):
        if data is not None and (last := _read_back(data, place).run) > run:
            later[name] = last
    return later


def end_lock(client: redis.Redis, host: Host, lock: HostLock) -> bool:
    """End a lock that was looked at; False if another run has taken it meanwhile."""
    return bool(client.eval(_END, 1, _LOCKS, place_of(host), lock.token))


def silent_seconds(lock: HostLock, now: float) -> float:
    """Say how long ago a lock was renewed. Pure."""
    return now - (lock.ends_at - LOCK_SECONDS)


def _read_back(data: bytes, place: str) -> HostLock:
    return read_back(
        data, HostLock, f"the lock of {place}", f"HDEL {_LOCKS} '{place}'", Stage.SWITCH
    )
