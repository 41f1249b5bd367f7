"""Closures on their way: signed, direct where it is possible, resumed, from caches and peers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.fleet.fleet import BUILDERS, Fleet, kill, state_of
from tests.lab.network import CONTROLLER_ADDRESS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.fleet.fleet import Deployment

pytestmark = pytest.mark.lab

# Paths of a size, of bytes that compress badly or well, on no machine yet.
PAYLOAD = """
  {{ pkgs, ... }}: {{
    environment.etc."payload".text = toString (map (n:
      pkgs.runCommand "payload-${{toString n}}" {{ }}
        "head -c {bytes} {source} >$out; echo {name} ${{toString n}} >>$out"
    ) [ {numbers} ]);
  }}
"""
# Says that it signs, and doesn't.
NOT_SIGNING = """\
#!/bin/sh
for argument; do
  [ "$argument" != sign ] || exit 0
done
exec @nix@ "$@"
"""
RANDOM = "/dev/urandom"
REPETITIVE = "/dev/zero"
MEGABYTE = 1_000_000


def payload(name: str, megabytes: int, source: str = RANDOM, count: int = 1) -> str:
    """Return a module with `count` paths of that size together."""
    numbers = " ".join(map(str, range(count)))
    size = megabytes * MEGABYTE // count
    return PAYLOAD.format(name=name, source=source, bytes=size, numbers=numbers)


def report_of(deployment: Deployment, host: str) -> dict[str, Any]:
    """Return what the deployment says of the copy to a host."""
    (event,) = deployment.find(host=host, stage="copy_closure", event="stage_finished")
    report: dict[str, Any] = event["report"]
    return report


def deployed(fleet: Fleet, target: str, modules: Mapping[str, str], *options: str) -> Deployment:
    """Deploy machines with further modules, which must go well."""
    fleet.change(extra=modules)
    deployment = fleet.deploy_json(target, *options)
    assert deployment.returncode == 0, deployment.why()
    return deployment


def test_builder_sends_it_itself_and_its_key_is_gone_afterwards(fleet: Fleet) -> None:
    """What is large goes from builder to target, also where root is reached by sudo."""
    keys = ("cat /root/.ssh/authorized_keys", "cat /home/deploy/.ssh/authorized_keys")
    hosts = dict(zip(("carbon", "beryllium"), keys, strict=True))
    before = {name: fleet[name].shell(command) for name, command in hosts.items()}
    modules = {name: payload(f"direct {name}", 40) for name in hosts}
    deployment = deployed(fleet, "carbon,beryllium", modules)
    for name in hosts:
        report = report_of(deployment, name)
        assert report["route"] in {f"{builder} → {name}" for builder in BUILDERS}
        assert report["copied_bytes"] > 40 * MEGABYTE
    assert {name: fleet[name].shell(command) for name, command in hosts.items()} == before
    for builder in BUILDERS:
        assert fleet[builder].shell("ls -d /tmp/orchestrate-* 2>/dev/null || true") == ""


def test_what_builders_do_not_reach_goes_through_the_controller(fleet: Fleet) -> None:
    """A target that no builder reaches gets it all the same, and the report says why so."""
    with unreachable_from_builders(fleet, "carbon"):
        deployment = deployed(fleet, "carbon", {"carbon": payload("relayed", 40)})
        route = report_of(deployment, "carbon")["route"]
        assert "→ controller → carbon" in route
        assert "doesn't reach it" in route
        fleet.change(extra={"carbon": payload("direct or not at all", 1)})
        only = fleet.with_vars({}, {"carbon": {"orchestrate_copy_route": "direct"}})
        refused = only.deploy_json("carbon")
    assert refused.outcomes() == {"carbon": "failed"}, refused.why()
    assert "copying from" in refused.hosts["carbon"]["message"]


def test_target_takes_only_what_its_builder_signed(fleet: Fleet) -> None:
    """A builder with another key than the pinned one gives nothing; without checks it does."""
    before = state_of(fleet["carbon"])
    fleet.change()
    pin = f"somebody-else-1:{'A' * 43}="
    builder = {"systems": ["x86_64-linux"], "signing_key": pin}
    pinned = fleet.with_vars({}, {name: {"orchestrate_builder": builder} for name in BUILDERS})
    refused = pinned.deploy_json("carbon")
    assert refused.outcomes() == {"carbon": "failed"}, refused.why()
    assert pin in refused.hosts["carbon"]["message"]
    assert state_of(fleet["carbon"]).running == before.running
    unchecked = pinned.deploy_json("carbon", "--no-check-sigs")
    assert unchecked.outcomes() == {"carbon": "deployed"}, unchecked.why()
    assert "no key vouches for" in unchecked.stderr


def test_target_refuses_what_was_not_signed(fleet: Fleet) -> None:
    """The check is the target's own: what a builder only says that it signed is refused."""
    fleet.change()
    for builder in BUILDERS:
        real = fleet[builder].shell("command -v nix").strip()
        text = NOT_SIGNING.replace("@nix@", real)
        fleet[builder].shell(f"cat >/usr/local/bin/nix <<'NIX'\n{text}NIX")
        fleet[builder].shell("chmod +x /usr/local/bin/nix")
    try:
        refused = fleet.deploy_json("carbon")
    finally:
        for builder in BUILDERS:
            fleet[builder].shell("rm /usr/local/bin/nix")
    assert refused.outcomes() == {"carbon": "failed"}, refused.why()
    (event,) = refused.find(host="carbon", stage="copy_closure", event="stage_failed")
    assert "lacks a signature by a trusted key" in "\n".join(event["last_lines"])


def test_interrupted_copy_goes_on_where_it_was(fleet: Fleet) -> None:
    """After a cut in the middle, only what had not arrived whole travels again."""
    slow = fleet.with_vars(
        {"orchestrate_copy_bandwidth_mbit": 16}, {"carbon": {"orchestrate_copy_route": "relay"}}
    )
    fleet.change(extra={"carbon": payload("resumed", 24, count=12)})
    process = slow.start("deploy", "carbon", "--json")
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        if event["stage"] == "copy_closure" and event.get("bytes", 0) > 12 * MEGABYTE:
            break
    kill(process)
    resumed = fleet.events_of("resume")
    assert resumed.outcomes() == {"carbon": "deployed"}, resumed.why()
    report = report_of(resumed, "carbon")
    assert 0 < report["copied_bytes"] < 22 * MEGABYTE


def system_built(fleet: Fleet) -> dict[str, Any]:
    """Have carbon's system built, and give the report of that build."""
    built = fleet.events_of("build", "carbon")
    assert built.returncode == 0, built.why()
    (report,) = (
        event["report"]
        for event in built.find(stage="build", event="stage_finished")
        if "nixos" in event["report"]["output"]
    )
    found: dict[str, Any] = report
    return found


def test_files_that_are_no_valid_path_are_replaced(fleet: Fleet) -> None:
    """What looks whole on the target and isn't in its Nix's database is copied all the same."""
    fleet.change(extra={"carbon": payload("counterfeit", 1)})
    report = system_built(fleet)
    listed = fleet[report["builder"]].shell(f"nix-store --query --requisites {report['output']}")
    (path,) = (line for line in listed.splitlines() if "-payload-" in line)
    fleet["carbon"].shell(f"echo counterfeit >{path} && touch -d @1 {path}")
    deployment = fleet.deploy_json("carbon")
    assert deployment.returncode == 0, deployment.why()
    assert report_of(deployment, "carbon")["copied_bytes"] > MEGABYTE
    fleet["carbon"].shell(f"nix-store --verify-path {path}")


def test_bandwidth_budget_holds(fleet: Fleet) -> None:
    """What passes through the controller takes no more than the budget."""
    limited = fleet.with_vars({"orchestrate_copy_bandwidth_mbit": 16})
    begun = time.monotonic()
    deployed(limited, "carbon", {"carbon": payload("budget", 8)})
    assert time.monotonic() - begun > 8 * MEGABYTE * 8 / 16e6


def test_slow_link_is_compressed(fleet: Fleet) -> None:
    """A link that turns out to be slow is compressed, and what compresses is there sooner."""
    relayed = fleet.with_vars({}, {"carbon": {"orchestrate_copy_route": "relay"}})
    for builder in BUILDERS:
        fleet[builder].limit("16mbit")
    try:
        begun = time.monotonic()
        modules = {"carbon": payload("compressed", 60, REPETITIVE)}
        deployment = deployed(relayed, "carbon", modules)
        seconds = time.monotonic() - begun
    finally:
        for builder in BUILDERS:
            fleet[builder].unlimit()
    assert report_of(deployment, "carbon")["route"].endswith(", compressed")
    # As it is, it would take 30 seconds.
    assert seconds < 60 * MEGABYTE * 8 / 16e6


def test_what_a_cache_has_is_not_copied(fleet: Fleet, tmp_path: Path) -> None:
    """A path that the target's cache has comes from there, and is checked by its key."""
    fleet.change(extra={"carbon": payload("cached", 10)})
    report = system_built(fleet)
    with cache_of(fleet, report["builder"], report["output"], tmp_path) as (url, key):
        cached = fleet.with_vars(
            {"orchestrate_substituters": [url], "orchestrate_trusted_public_keys": [key]}
        )
        deployment = cached.deploy_json("carbon")
    assert deployment.returncode == 0, deployment.why()
    copied = report_of(deployment, "carbon")
    assert "paths from its caches" in copied["route"]
    assert copied["copied_bytes"] < 10 * MEGABYTE


def test_machine_that_is_done_serves_the_next(fleet: Fleet) -> None:
    """With `--fanout peers` the second host gets what both share from the first."""
    one = fleet.with_vars({"orchestrate_copies_at_once": 1})
    names = ("carbon", "beryllium")
    fleet.change(extra=dict.fromkeys(names, payload("shared", 10)))
    deployment = one.deploy_json(",".join(names), "--fanout", "peers")
    assert deployment.returncode == 0, deployment.why()
    routes = {name: report_of(deployment, name)["route"] for name in names}
    assert "carbon →" in routes["beryllium"] or "beryllium →" in routes["carbon"], routes


@contextmanager
def unreachable_from_builders(fleet: Fleet, name: str) -> Iterator[None]:
    """Have builders that have no way to a host."""
    for builder in BUILDERS:
        fleet[builder].shell(f"ip route add blackhole {fleet[name].address}/32")
    try:
        yield
    finally:
        for builder in BUILDERS:
            fleet[builder].shell(f"ip route delete blackhole {fleet[name].address}/32")


@contextmanager
def cache_of(fleet: Fleet, builder: str, path: str, directory: Path) -> Iterator[tuple[str, str]]:
    """Have a binary cache with the closure of a path at the controller; give its URL and key."""
    secret = directory / "secret"
    made = fleet.controller.run(nix("key", "generate-secret", "--key-name", "cache-1"))
    secret.write_text(made.stdout)
    read = ["sh", "-c", f"{' '.join(nix('key', 'convert-secret-to-public'))} <{secret}"]
    key = fleet.controller.run(read).stdout.strip()
    store = f"file://{directory}/cache?secret-key={secret}"
    fleet.controller.run(
        nix("copy", "--from", f"ssh-ng://{builder}", "--no-check-sigs", "--to", store, path),
        env={"NIX_SSHOPTS": f"-F {fleet.lab.ssh_config}"},
        timeout=60,
    )
    server = [sys.executable, "-m", "http.server", "8080", "--directory", f"{directory}/cache"]
    process = fleet.controller.popen(server, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"http://{CONTROLLER_ADDRESS}:8080", key
    finally:
        process.terminate()
        process.wait()


def nix(*arguments: str) -> list[str]:
    """Return the command line of a new command of Nix."""
    return ["nix", "--extra-experimental-features", "nix-command", *arguments]
