"""`make demo`: the main job on the fleet in a box, as a user would do it.

Deploys four machines from nothing, deploys again with nothing to do, deploys a
llama-cli that is broken on one of them, and holds what came out against what
was promised. Exits 0 only if all of it came out as promised.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab import Controller, Lab, running_lab
from tests.lab.fleet_flake import LLAMA_CPP_STANDIN, write_fleet_flake
from tests.lab.models import smollm2

TARGETS = ("carbon", "beryllium", "boron", "nitrogen")
BROKEN = "beryllium"


@dataclass(slots=True)
class Record:
    """What was promised and kept, and a table of what came out per machine."""

    promises: list[tuple[str, bool]] = field(default_factory=list)
    columns: dict[str, dict[str, str]] = field(default_factory=dict)

    def hold(self, promise: str, *, kept: bool) -> None:
        """Note one promise."""
        self.promises.append((promise, kept))

    def note(self, column: str, host: str, value: object) -> None:
        """Put a value into the table."""
        self.columns.setdefault(column, {})[host] = str(value)

    @property
    def all_kept(self) -> bool:
        """Whether no promise was broken."""
        return all(kept for _, kept in self.promises)

    def table(self) -> str:
        """Render the machines, a line each."""
        rows = [["machine", *self.columns]]
        rows += [[host, *(c.get(host, "-") for c in self.columns.values())] for host in TARGETS]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )


@dataclass(frozen=True, slots=True)
class Stage:
    """The lab, the user's flake and inventory in it, and the record."""

    lab: Lab
    controller: Controller
    directory: Path
    record: Record

    @property
    def inventory(self) -> Path:
        """The inventory's file."""
        return self.directory / "inventory.yml"

    def orchestrate(self, *arguments: str) -> int:
        """Run orchestrate as the user sees it."""
        say(f"$ orchestrate {' '.join(arguments)}", quiet=True)
        with self.controller.popen(self._argv(*arguments)) as process:
            return process.wait()

    def orchestrate_json(self, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
        """Run orchestrate and give its exit code and its JSON, one object a line."""
        done = self.controller.run(self._argv(*arguments, "--json"), check=False)
        sys.stderr.write(done.stderr)
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]

    def _argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "orchestrator", *arguments, "-i", str(self.inventory)]

    def running(self, host: str) -> str:
        """Ask a host what it runs, past orchestrate."""
        return self.lab[host].shell("readlink -f /run/current-system").strip()

    def boot_default(self, host: str) -> str:
        """Ask a host what it would boot, past orchestrate."""
        return self.lab[host].shell("cat /boot/loader/default").strip()


def say(text: str, *, quiet: bool = False) -> None:
    """Print a heading, or a command line."""
    sys.stdout.write(f"\n{text}\n" if quiet else f"\n=== {text}\n")
    sys.stdout.flush()


def prepare(lab: Lab, directory: Path, record: Record) -> Stage:
    """Write the user's flake and inventory, as the README's user would."""
    write_fleet_flake(directory / "flake")
    lab.write_inventory(
        directory / "inventory.yml",
        fleet_vars={
            "orchestrate_flake": str(directory / "flake"),
            "orchestrate_llama_cpp": str(LLAMA_CPP_STANDIN),
            "orchestrate_smoke_model": str(smollm2()),
        },
        host_vars={"nitrogen": {"orchestrate_llama_variant": "vulkan"}},
    )
    return Stage(lab, lab.controller(), directory, record)


def deploy_from_nothing(stage: Stage) -> None:
    """Four machines, from nothing installed to verified by an inference."""
    say("1. Deploy the fleet: nothing is installed yet")
    stage.orchestrate("plan", "fleet")
    code = stage.orchestrate("deploy", "fleet")
    stage.record.hold("the first deployment exits 0", kept=code == 0)
    _, statuses = stage.orchestrate_json("status", "fleet")
    for status in statuses:
        host, result = status["host"], status["result"]
        toplevel = stage.running(host)
        settled = bool(toplevel) and toplevel == stage.boot_default(host)
        stage.record.hold(f"{host} runs and boots its new system", kept=settled)
        stage.record.note("first", host, result["outcome"])
        stage.record.note("variant", host, result["variant"])


def smoke_again(stage: Stage) -> None:
    """What each running llama-cli itself reports, one machine after the other."""
    say("2. What the running llama-cli reports on each machine")
    for host in TARGETS:
        _, reports = stage.orchestrate_json("smoke", host)
        backend, speed = reports[0].get("backend"), reports[0].get("tokens_per_second")
        device = reports[0].get("device") or "no GPU"
        sys.stdout.write(f"{host:<10} {backend} ({device}), {speed} tokens/s\n")
        wanted = "Vulkan" if host == "nitrogen" else "CPU"
        kept = bool(reports[0]["passed"]) and backend == wanted
        stage.record.hold(f"{host}'s llama-cli reports {wanted}", kept=kept)
        stage.record.note("llama-cli says", host, backend)
        stage.record.note("tokens/s", host, speed)


def deploy_again(stage: Stage) -> None:
    """Nothing to do, beside the time of a plain login to each host."""
    say("3. Deploy again: nothing to do")
    before = {host: stage.lab[host].shell("ls /nix/store | wc -l") for host in stage.lab.hosts}
    say("$ orchestrate deploy fleet --json | tail -1", quiet=True)
    started = time.monotonic()
    code, events = stage.orchestrate_json("deploy", "fleet")
    seconds = time.monotonic() - started
    after = {host: stage.lab[host].shell("ls /nix/store | wc -l") for host in stage.lab.hosts}
    hosts = events[-1]["hosts"]
    sys.stdout.write(f"{json.dumps(events[-1])}\n")
    sys.stdout.write(
        f"\n{seconds:.2f} s for the whole command; one plain ssh login to each host,"
        f" all at once: {plain_logins(stage.lab):.2f} s\n"
    )
    kept = code == 0 and {hosts[host]["outcome"] for host in TARGETS} == {"unchanged"}
    stage.record.hold("the second deployment finds nothing to do", kept=kept)
    stage.record.hold("it builds and copies nothing", kept=before == after)
    for host in TARGETS:
        stage.record.note("again", host, hosts[host]["outcome"])


def plain_logins(lab: Lab) -> float:
    """Time one `ssh HOST true` to each target, all at once, in seconds."""
    started = time.monotonic()
    with ThreadPoolExecutor(len(TARGETS)) as pool:
        list(pool.map(lambda host: lab[host].ssh("true"), TARGETS))
    return time.monotonic() - started


def deploy_broken(stage: Stage) -> None:
    """One host's llama-cli crashes: it goes back, the others go on."""
    say(f"4. Deploy a change whose llama-cli is broken on {BROKEN}")
    before = {host: stage.running(host) for host in TARGETS}
    write_fleet_flake(stage.directory / "flake", greeting="changed", broken={BROKEN: "crash"})
    code = stage.orchestrate("deploy", "fleet")
    stage.record.hold("the broken deployment exits 3", kept=code == 3)
    _, statuses = stage.orchestrate_json("status", "fleet")
    for status in statuses:
        host, outcome = status["host"], status["result"]["outcome"]
        stage.record.note("broken change", host, outcome)
        if host == BROKEN:
            back = stage.running(host) == stage.boot_default(host) == before[host]
            stage.record.hold(f"{host} is reported rolled back", kept=outcome == "rolled_back")
            stage.record.hold(f"{host} runs and boots its old system, proven there", kept=back)
        else:
            moved = outcome == "deployed" and stage.running(host) != before[host]
            stage.record.hold(f"{host} was deployed all the same", kept=moved)


def main() -> int:
    """Play the demo and print what was promised beside what came out."""
    record = Record()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="orchestrate-demo-") as name, running_lab() as lab:
        up = time.monotonic() - started
        say(f"The fleet in a box: {', '.join(lab.hosts)}, up after {up:.1f} s")
        stage = prepare(lab, Path(name), record)
        for act in (deploy_from_nothing, smoke_again, deploy_again, deploy_broken):
            act(stage)
        say("How the machines ended")
        stage.orchestrate("status", "fleet")
    say("What was promised")
    for promise, kept in record.promises:
        sys.stdout.write(f"{'kept  ' if kept else 'BROKEN'}  {promise}\n")
    sys.stdout.write(f"\n{record.table()}\n\n{time.monotonic() - started:.0f} s in all\n")
    return 0 if record.all_kept else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"demo: {error}")
