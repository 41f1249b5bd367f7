"""`make bench-builds`: how often a shared package is built, and which builds end first.

1. 30 hosts with three variants: builder invocations of llama.cpp, counted in the
   builders' own journals. The 30 are names in an inventory; four hosts of the lab
   answer to them.
2. Eight packages on two unequal builders, by `orchestrate build` and by Nix with
   `--builders`, which take turns: seconds from the first build's start to the last
   one's end, by the builders' own notes. What is built is a wait whose length
   depends on the package and the builder, one at a time on each: a host that one
   build keeps busy.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from bench.report import Comparison, json_line, say, table
from tests.fleet.fleet import BUILDERS, ORCHESTRATE, TARGETS
from tests.lab import Controller, Lab, running_lab
from tests.lab.fleet_flake import LLAMA_CPP_STANDIN, write_fleet_flake
from tests.lab.processes import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


HOSTS = 30
SHARED = ("cpu", "vulkan", "rpc")
PACKAGES = tuple(
    (variant, web_ui) for variant in ("cpu", "rpc", "mpi-cpu", "vulkan") for web_ui in (True, False)
)
ROUNDS = 5
SLOWNESS = {"forge": 1.0, "anvil": 3.0}
"""How many times longer a build takes on a builder; forge is the fast one."""

_NOTES = "/var/tmp/bench-builds"  # noqa: S108 - on hosts of the lab
_WAIT = f"""
    case $name in *vulkan*) work=30 ;; *mpi*) work=15 ;; *) work=10 ;; esac
    exec 9>{_NOTES}/lock
    /usr/bin/flock 9
    echo "$out $(/bin/date +%s.%N)" >>{_NOTES}/notes
    /bin/sleep "$(/usr/bin/awk "BEGIN {{ print $work / 10 * $(cat {_NOTES}/slowness) }}")"
    echo "$out $(/bin/date +%s.%N)" >>{_NOTES}/notes
    mkdir $out
"""


@dataclass(frozen=True, slots=True)
class Bench:
    """A lab with a user's flake, and a controller that deploys from it."""

    lab: Lab
    controller: Controller
    directory: Path
    flake: Path

    def orchestrate(self, inventory: Path, *args: str) -> str:
        """Run a command of the product; return what it prints."""
        argv = [*ORCHESTRATE, *args, "--inventory", str(inventory)]
        env = {"PYTHONPATH": str(REPOSITORY)}
        return self.controller.run(argv, env=env, cwd=self.directory).stdout

    def inventory(self, name: str, hosts: Mapping[str, Mapping[str, Any]], llama: Path) -> Path:
        """Write an inventory of these hosts and the lab's builders.

        Each host is one of the lab's targets under another name.
        """
        fleet_vars = {"orchestrate_flake": str(self.flake), "orchestrate_llama_cpp": str(llama)}
        path = self.lab.write_inventory(self.directory / name, fleet_vars)
        data = yaml.safe_load(path.read_text())
        real = data["all"]["hosts"]
        members: dict[str, dict[str, Any]] = {}
        for number, (host, variables) in enumerate(hosts.items()):
            target = TARGETS[number % len(TARGETS)]
            real[host] = {**real[target], "orchestrate_nixos_name": target, **variables}
            members[host] = {}
        data["all"]["children"]["targets"] = {"hosts": members}
        data["all"]["children"]["doors"] = {"hosts": {target: {} for target in TARGETS}}
        for builder in BUILDERS:
            real[builder]["orchestrate_builder"]["max_jobs"] = 1
        path.write_text(yaml.safe_dump(data, sort_keys=False))
        return path


def count_invocations(bench: Bench) -> dict[str, int]:
    """Build for 30 hosts with three variants; count the llama.cpp builds that were begun."""
    hosts = {
        f"node-{number:02}": {"orchestrate_llama_variant": SHARED[number % len(SHARED)]}
        for number in range(HOSTS)
    }
    inventory = bench.inventory("thirty.yml", hosts, LLAMA_CPP_STANDIN)
    builds = json.loads(bench.orchestrate(inventory, "plan", "targets", "--json"))["builds"]
    packages = [build["derivation"] for build in builds if build["after"] is None]
    bench.orchestrate(inventory, "build", "targets", "--json")
    journals = "".join(bench.lab[name].shell("journalctl --output=cat") for name in BUILDERS)
    return {
        "hosts": HOSTS,
        "packages": len(packages),
        "builds": begun_units(journals, packages),
        "systems": len(builds) - len(packages),
    }


def begun_units(journal: str, derivations: Sequence[str]) -> int:
    """Count how often systemd started a build of one of these derivations."""
    units = {f"orchestrate-build-{drv.removeprefix('/nix/store/')[:32]}" for drv in derivations}
    started = (line for line in journal.splitlines() if line.startswith("Started "))
    return sum(any(unit in line for unit in units) for line in started)


def waiting_llama(directory: Path, nonce: str) -> Path:
    """Copy llama.cpp's stand-in as one that waits; another nonce makes other derivations."""
    shutil.copytree(LLAMA_CPP_STANDIN, directory)
    package = directory / ".devops/nix/package.nix"
    before, _, rest = package.read_text().partition("  installPhase = ''\n")
    _, _, after = rest.partition("  '';\n")
    text = f"{before}  installPhase = ''\n    # {nonce}\n{_WAIT}  '';\n{after}"
    package.write_text(text)
    return directory


def makespan(notes: str, outputs: Sequence[str]) -> float:
    """Return the seconds from the first start to the last end of these builds.

    Raises:
        ValueError: one of them was not built once.
    """
    times: dict[str, list[float]] = {output: [] for output in outputs}
    for line in notes.splitlines():
        output, at = line.split()
        if output in times:
            times[output].append(float(at))
    if any(len(found) != 2 for found in times.values()):  # noqa: PLR2004 - a start and an end
        message = f"each build was to begin and end once: {times}"
        raise ValueError(message)
    return max(map(max, times.values())) - min(map(min, times.values()))


def nix_builders(lab: Lab, factors: Mapping[str, float]) -> str:
    """Return the builders for `--builders`: host, system, key, jobs, speed, features."""
    return " ; ".join(
        f"ssh-ng://{name} x86_64-linux {lab.private_key} 1 {factors[name]:g}"
        f" {','.join(lab[name].spec.features)} -"
        for name in BUILDERS
    )


def run_contender(bench: Bench, name: str, number: int) -> float:
    """Have the eight packages built anew by one contender; return its makespan."""
    llama = waiting_llama(bench.directory / f"llama-{name}-{number}", f"{name} {number}")
    hosts = {
        f"node-{index}": {"orchestrate_llama_variant": variant, "orchestrate_llama_web_ui": web_ui}
        for index, (variant, web_ui) in enumerate(PACKAGES)
    }
    inventory = bench.inventory(f"{name}-{number}.yml", hosts, llama)
    builds = json.loads(bench.orchestrate(inventory, "plan", "targets", "--json"))["builds"]
    packages = [build for build in builds if build["after"] is None]
    if name == "orchestrate":
        bench.orchestrate(inventory, "build", "targets", "--json")
    else:
        equal = dict.fromkeys(BUILDERS, 1.0)
        told = {builder: 1 / SLOWNESS[builder] for builder in BUILDERS}
        factors = told if name == "nix, told the speeds" else equal
        argv = ("nix-store", "--realise", *(build["derivation"] for build in packages))
        remote = ("--builders", nix_builders(bench.lab, factors), "--max-jobs", "0")
        # As often as our builds look, or its 5 s would be most of the difference.
        poll = ("--option", "build-poll-interval", "1")
        env = {"NIX_SSHOPTS": f"-F {bench.lab.ssh_config}"}
        bench.controller.run((*argv, *remote, *poll), env=env)
    notes = "".join(bench.lab[builder].shell(f"cat {_NOTES}/notes") for builder in BUILDERS)
    return makespan(notes, [build["output"] for build in packages])


CONTENDERS = ("nix", "nix, told the speeds", "orchestrate")


def measure(bench: Bench) -> tuple[float, list[dict[str, float]]]:
    """Let the contenders take turns; the first of ours, which has no history, counts apart."""
    for name in BUILDERS:
        bench.lab[name].shell(
            f"mkdir -m 1777 {_NOTES}; echo {SLOWNESS[name]} >{_NOTES}/slowness;"
            f" touch {_NOTES}/lock {_NOTES}/notes; chmod 666 {_NOTES}/lock {_NOTES}/notes"
        )
    first = run_contender(bench, "orchestrate", 0)
    rounds = []
    for number in range(1, ROUNDS + 1):
        rounds.append({name: run_contender(bench, name, number) for name in CONTENDERS})
        say(f"round {number}: {json.dumps(rounds[-1])}")
    return first, rounds


def main() -> None:
    """Count, measure, print the table and the line of JSON."""
    with running_lab() as lab, tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        flake = write_fleet_flake(directory / "machines")
        bench = Bench(lab, lab.controller(), directory, flake)
        counted = count_invocations(bench)
        shared = "{hosts} hosts, {packages} packages: {builds} builds of llama.cpp"
        say(shared.format_map(counted))
        first, rounds = measure(bench)
    figures = {name: tuple(one[name] for one in rounds) for name in CONTENDERS}
    found = [Comparison("makespan of 8 packages", "s", figures, base="nix")]
    say(table(found))
    say(f"orchestrate without any history: {first:.1f} s")
    say(json_line("builds", found, rounds=ROUNDS, first_run_s=round(first, 2), once=counted))


if __name__ == "__main__":
    main()
