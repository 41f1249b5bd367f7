"""Copies, as far as they are pure: progress, signatures' answers, routes, slots, settings."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from inventory.copying import Caches, Copying, CopyLimits, CopyRoute
from inventory.host import Become, BecomeMethod, Connection, Host, JumpHost
from orchestrator.command import CommandResult
from orchestrator.deploy.perform.copy_slots import CopySlots, slots_of
from orchestrator.errors import InventoryError, PayloadError, StageError
from orchestrator.model.store import parse_store_path
from orchestrator.scripts import program
from orchestrator.stages.copy_closure.copy_closure import DIRECT_BYTES, wants_direct
from orchestrator.stages.copy_closure.delivery import Delivery
from orchestrator.stages.copy_closure.direct import forced
from orchestrator.stages.copy_closure.progress import CopyProgress
from orchestrator.stages.copy_closure.signature import Signature, check_pinned, sign
from orchestrator.transport.become import Privilege
from orchestrator.transport.forward import Pace
from orchestrator.transport.shell import LocalShell, SshShell

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.command import Command

PATH = parse_store_path(f"/nix/store/{'a' * 32}-llama-cpp")
OTHER = parse_store_path(f"/nix/store/{'b' * 32}-libc")
KEY = f"forge-1:{'A' * 43}="
CACHE = Caches(("https://cache.example.org",), (f"cache-1:{'B' * 43}=",))
CARBON = Host(name="carbon", connection=Connection("carbon"), nixos_name="carbon")


def started(number: int, path: str, store: str = "unix:///tmp/socket") -> str:
    """Give the line by which Nix begins to copy a path."""
    fields = [path, "local", store]
    return "@nix " + json.dumps({"action": "start", "id": number, "type": 100, "fields": fields})


def moved(number: int, count: int) -> str:
    """Give the line by which Nix says how much of a path has moved."""
    fields = [count, 1000, 0, 0]
    return "@nix " + json.dumps({"action": "result", "id": number, "type": 105, "fields": fields})


def test_progress_adds_up_paths_and_bytes() -> None:
    """Each path counts with what moved of it last; what came from a cache counts for nothing."""
    progress = CopyProgress()
    cached = started(3, "/nix/store/cached", "local")
    for line in (started(1, PATH), moved(1, 10), started(2, OTHER), moved(2, 5), moved(1, 30)):
        progress.hear(line)
    progress.hear(cached)
    progress.hear(moved(3, 70))
    assert (progress.paths, progress.moved) == (2, 35)


def test_a_copy_that_begins_anew_counts_a_path_once() -> None:
    """A second attempt has other numbers for the same paths."""
    progress = CopyProgress()
    for line in (started(1, PATH), moved(1, 500), started(9, PATH), moved(9, 20)):
        progress.hear(line)
    assert (progress.paths, progress.moved) == (1, 20)


@pytest.mark.parametrize(
    "line",
    [
        "bash: nix: command not found",
        "@nix {",
        "@nix []",
        '@nix {"action":"result","id":[],"type":105,"fields":"x"}',
        '@nix {"action":"start","id":1,"type":100,"fields":[7]}',
    ],
)
def test_anything_may_be_said(line: str) -> None:
    """Lines that aren't Nix's are kept as they are, broken ones change nothing."""
    progress = CopyProgress()
    progress.hear(line)
    assert (progress.paths, progress.moved) == (0, 0)
    assert (line in progress.recent) == (not line.startswith('@nix {"'))


def test_errors_are_kept_without_their_colours() -> None:
    """What Nix says of an error is among the last lines; what it only chats about isn't."""
    progress = CopyProgress()
    said = {"action": "msg", "level": 0, "msg": "\x1b[31;1merror:\x1b[0m no signature\n  of it"}
    progress.hear("@nix " + json.dumps(said))
    progress.hear("@nix " + json.dumps({"action": "msg", "level": 3, "msg": "copying"}))
    assert list(progress.recent) == ["error: no signature", "  of it"]


def delivery(host: Host = CARBON, size: int = DIRECT_BYTES, key: str | None = KEY) -> Delivery:
    """Give a delivery that nobody carries out."""
    here: Any = None
    return Delivery(
        source=here,
        target=SshShell(host.name, here, Privilege(host)),
        host=host,
        host_key="ssh-ed25519 AAAA",
        paths=(PATH,),
        signature=Signature(size, key),
        progress=CopyProgress(),
        pace=Pace(),
        on_bytes=lambda _: None,
    )


def test_direct_is_for_what_is_large_and_can_be_reached(tmp_path: Path) -> None:
    """A small copy, a jump host, or a password that only we have: then through here."""
    assert wants_direct(delivery())
    assert not wants_direct(delivery(size=DIRECT_BYTES - 1))
    behind = replace(CARBON, connection=Connection("carbon", jump=JumpHost("gate")))
    assert not wants_direct(delivery(behind))
    password = tmp_path / "password"
    password.write_text("of nobody\n")
    asking = Become(BecomeMethod.SUDO, password_file=str(password))
    assert not wants_direct(delivery(replace(CARBON, become=asking)))
    for route in (CopyRoute.DIRECT, CopyRoute.RELAY):
        wanted = delivery(replace(CARBON, copying=Copying(route=route)), size=1)
        assert wants_direct(wanted) == (route is CopyRoute.DIRECT)


def test_target_serves_an_untrusted_client_by_named_keys() -> None:
    """The daemon of a copy trusts the builder's key and the caches', and nobody else."""
    line = delivery(replace(CARBON, caches=CACHE)).serve().line()
    assert "--stdio --force-untrusted" in line
    assert f"extra-trusted-public-keys '{CACHE.public_keys[0]} {KEY}'" in line
    assert "extra-substituters https://cache.example.org" in line
    unchecked = delivery(key=None)
    assert "--force-trusted" in unchecked.serve().line()
    assert unchecked.options() == ("--no-check-sigs",)


def test_a_forced_command_is_one_line_with_escaped_quotes() -> None:
    """authorized_keys takes one line, in which quotes and backslashes are escaped."""
    text = forced(program("echo", 'a "b" \\c'))
    assert "\n" not in text
    unescaped = text.replace('\\"', "").replace("\\\\", "")
    assert '"' not in unescaped


class Answering(LocalShell):
    """A builder whose script prints what a test wants."""

    async def run(self, command: Command) -> CommandResult:
        """Answer, whatever is asked."""
        text = f"orchestrate:key={self.host}\norchestrate:exit=0\n"
        return CommandResult(command, "forge", 0, text, "")


def test_a_builder_with_another_key_is_refused() -> None:
    """A pinned key is the only one; without a pin the builder's own is taken."""
    assert asyncio.run(sign(Answering(KEY), (PATH,))) == KEY
    check_pinned("forge", KEY, KEY)
    check_pinned("forge", KEY, None)
    with pytest.raises(StageError, match="the inventory has other-1"):
        check_pinned("forge", KEY, f"other-1:{'A' * 43}=")


@pytest.mark.parametrize("answer", ["", "key", f"{KEY} {KEY}", "name:", ":key"])
def test_a_builder_that_answers_something_else_is_refused(answer: str) -> None:
    """No signature without a key."""
    with pytest.raises(PayloadError, match="expected a public key"):
        asyncio.run(sign(Answering(answer), (PATH,)))


def test_slots_bound_all_copies_and_those_of_one_source() -> None:
    """No more at a time than allowed, and each source no more than it may serve."""

    async def copies() -> tuple[list[str], int]:
        slots = CopySlots(3, Pace())
        taken: list[str] = []
        most = running = 0

        async def one() -> None:
            nonlocal most, running
            async with slots.slot(lambda: {"peer": 1, "forge": 5}) as source:
                taken.append(source)
                running += 1
                most = max(most, running)
                await asyncio.sleep(0.001)
                running -= 1

        await asyncio.gather(*(one() for _ in range(6)))
        return taken, most

    taken, most = asyncio.run(copies())
    assert most == 3
    assert taken[:3] == ["peer", "forge", "forge"]


def test_pace_keeps_the_budget_of_all() -> None:
    """Two transfers that share a budget of 1 MB/s take a tenth of a second for 100 kB."""

    async def both() -> float:
        pace = slots_of(CopyLimits(bandwidth_mbit=8)).pace
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await asyncio.gather(*(pace.take(10_000) for _ in range(10)))
        return loop.time() - begun

    assert asyncio.run(both()) >= 0.099


@pytest.mark.parametrize(
    ("urls", "keys"),
    [
        (["cache.example.org"], [KEY]),
        (["https://a b"], [KEY]),
        (["--option"], [KEY]),
        (["https://cache.example.org"], ["nothing"]),
        (["https://cache.example.org"], []),
    ],
)
def test_caches_are_urls_with_keys(urls: list[str], keys: list[str]) -> None:
    """What Nix would read as something else is refused, and so is a cache without a key."""
    with pytest.raises(InventoryError):
        Caches(tuple(urls), tuple(keys))
