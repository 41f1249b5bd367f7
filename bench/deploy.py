"""`make bench-deploy`: whole deployments, beside what one would type instead.

A change of 4 hosts and of 16 is deployed by ours, by bare commands in a shell (one
host after another, and all at once) and by ansible-core, which take turns with
changes of their own. Each change is built before the clock runs, for all contenders; ours
evaluates and finds that out. Then a fleet without any change, beside one plain login
to each host, all at once.

Where `ORCHESTRATE_BEFORE` names another checkout of this project, that takes its turn too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from bench.deploy_peers import (
    ansible_environment,
    bare_script,
    plain_logins,
    playbook,
    smoke_line,
)
from bench.report import Comparison, json_line, say, table
from inventory.host import Smoke
from orchestrator.stages.smoke.model import model_path, read_model
from tests.lab import Controller, Lab, running_lab
from tests.lab.fleet_flake import LLAMA_CPP_STANDIN, write_fleet_flake
from tests.lab.processes import REPOSITORY
from tests.lab.spec import HostSpec

if TYPE_CHECKING:
    from collections.abc import Callable

BUILDER = "forge"
SIZES = (4, 16)
ROUNDS = 3
UNCHANGED_ROUNDS = 5

OURS, LOOP, PARALLEL, ANSIBLE = "ours", "bare, a loop", "bare, in parallel", "ansible-core"
CANARY = "ours, a canary first"
LOGINS = "plain logins"
BEFORE = "ours, before"

_number = count(1)


@dataclass(frozen=True)
class Change:
    """A change that is built and that no host has: what it is deployed to, and which systems."""

    target: str
    toplevels: Mapping[str, str]


@dataclass(frozen=True)
class Site:
    """A lab as a benchmark sees it, with the inventory and the flake of its user."""

    lab: Lab
    controller: Controller
    inventory: Path
    eager: Path
    flake: Path
    checkout: Path = REPOSITORY

    @property
    def before(self) -> Site | None:
        """The same site with the other checkout that was named, if one was."""
        named = os.environ.get("ORCHESTRATE_BEFORE")
        return replace(self, checkout=Path(named).resolve()) if named else None

    @property
    def ssh(self) -> str:
        """The command that logs in to a host."""
        return f"ssh -F {self.lab.ssh_config}"

    @property
    def smoke(self) -> str:
        """The inference that each contender asks each host for."""
        smoke = Smoke()
        return smoke_line(read_model(model_path(smoke)).remote_path, smoke.prompt, smoke.tokens)

    def hosts(self, size: int) -> tuple[str, ...]:
        """Name the first hosts."""
        return tuple(f"node-{number}" for number in range(1, size + 1))

    def orchestrate(self, *arguments: str, eager: bool = True) -> list[dict[str, object]]:
        """Run a command of the product and return its events.

        Raises:
            SystemExit: it didn't end well.
        """
        inventory = self.eager if eager else self.inventory
        argv = [sys.executable, "-m", "orchestrator", *arguments, "--json", "-i", str(inventory)]
        env = {"PYTHONPATH": str(self.checkout)}
        if self.checkout != REPOSITORY:
            # Two versions don't read each other's journals.
            env["XDG_STATE_HOME"] = str(self.lab.directory / "state-before")
        done = self.controller.run(argv, env=env, check=False, cwd=self.lab.directory, timeout=300)
        if done.returncode != 0:
            sys.exit(f"{' '.join(arguments)}: {done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def change(self, size: int) -> Change:
        """Change every host's system, and have the change built."""
        hosts = self.hosts(max(SIZES))
        write_fleet_flake(self.flake, greeting=f"hello {next(_number)}", further=hosts)
        target = ":".join(self.hosts(size))
        events = self.orchestrate("build", target)
        evaluated = [event for event in events if event["stage"] == "evaluate"]
        found = {
            str(event["host"]): str(event["toplevel"]) for event in evaluated if "toplevel" in event
        }
        return Change(target, {name: found[name] for name in self.hosts(size)})

    def ours(self, change: Change) -> None:
        """Deploy to all at once."""
        self.orchestrate("deploy", change.target)

    def ours_by_default(self, change: Change) -> None:
        """Deploy as a user does who has set nothing: the others wait for a canary."""
        self.orchestrate("deploy", change.target, eager=False)

    def bare_loop(self, change: Change) -> None:
        """Type the commands, one host after another."""
        self._bare(change, parallel=False)

    def bare_parallel(self, change: Change) -> None:
        """Type the commands, all hosts at once."""
        self._bare(change, parallel=True)

    def _bare(self, change: Change, *, parallel: bool) -> None:
        script = bare_script(BUILDER, change.toplevels, self.smoke, self.ssh, parallel=parallel)
        env = {"NIX_SSHOPTS": f"-F {self.lab.ssh_config}"}
        self.controller.run(["sh", "-c", script], env=env, timeout=300)

    def ansible(self, change: Change) -> None:
        """Play the same steps with ansible-core."""
        directory = self.lab.directory / f"play-{next(_number)}"
        directory.mkdir()
        play = directory / "play.yml"
        play.write_text(playbook(BUILDER, change.target, change.toplevels, self.smoke))
        env = ansible_environment(self.lab.ssh_config, directory, max(SIZES))
        argv = [sys.executable, "-m", "ansible", "playbook", "-i", str(self.inventory), str(play)]
        self.controller.run(argv, env=env, timeout=300)

    def check(self, change: Change) -> None:
        """Check that every host runs and boots the change.

        Raises:
            SystemExit: one doesn't.
        """
        for name, toplevel in change.toplevels.items():
            links = "/run/current-system /nix/var/nix/profiles/system"
            found = self.lab[name].shell(f"readlink -f {links}").split()
            if found != [toplevel, toplevel]:
                sys.exit(f"{name} has {found}, not {toplevel}")

    def logins(self, host: str) -> int:
        """Count the logins to a host since it was switched on."""
        asked = "journalctl --output=cat --unit=ssh.service | grep -c '^Accepted' || true"
        return int(self.lab[host].shell(asked))


def changed(site: Site, size: int) -> tuple[Comparison, dict[str, int]]:
    """Let the contenders take turns; return their seconds, and logins a host at the last."""
    contenders: Mapping[str, Callable[[Change], None]] = {
        OURS: site.ours,
        PARALLEL: site.bare_parallel,
        ANSIBLE: site.ansible,
    }
    before_site = site.before
    if before_site is not None:
        contenders = {**contenders, BEFORE: before_site.ours}
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    logins = {}
    last = site.hosts(size)[-1]
    for number in range(1, ROUNDS + 1):
        for name, contender in contenders.items():
            builder = before_site if name == BEFORE and before_site is not None else site
            change = builder.change(size)
            before = site.logins(last)
            figures[name].append(_timed(partial(contender, change)))
            logins[name] = site.logins(last) - before
            site.check(change)
            say(f"  {size} hosts, round {number}: {name}: {figures[name][-1]:.2f} s")
    return _compared(f"{size} hosts, changed", figures, PARALLEL), logins


def not_at_once(site: Site, size: int) -> Comparison:
    """Measure once what does not go to all hosts at once, which takes long."""
    contenders: Mapping[str, Callable[[Change], None]] = {
        CANARY: site.ours_by_default,
        LOOP: site.bare_loop,
        PARALLEL: site.bare_parallel,
    }
    figures: dict[str, list[float]] = {}
    for name, contender in contenders.items():
        change = site.change(size)
        figures[name] = [_timed(partial(contender, change))]
        site.check(change)
        say(f"  {size} hosts: {name}: {figures[name][-1]:.2f} s")
    return _compared(f"{size} hosts, changed, once", figures, PARALLEL)


def unchanged(site: Site, size: int) -> Comparison:
    """Deploy with nothing to do, beside a plain login to each host."""
    site.ours(site.change(size))
    target = ":".join(site.hosts(size))
    script = plain_logins(site.hosts(size), site.ssh)
    contenders: Mapping[str, Callable[[], object]] = {
        OURS: lambda: site.orchestrate("deploy", target),
        LOGINS: lambda: site.controller.run(["sh", "-c", script]),
    }
    if (before := site.before) is not None:
        before.orchestrate("deploy", target)
        contenders = {**contenders, BEFORE: lambda: before.orchestrate("deploy", target)}
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(1, UNCHANGED_ROUNDS + 1):
        for name, contender in contenders.items():
            figures[name].append(_timed(contender))
            say(f"  {size} hosts, unchanged, round {number}: {name}: {figures[name][-1]:.2f} s")
    return _compared(f"{size} hosts, unchanged", figures, LOGINS)


def _compared(what: str, figures: Mapping[str, list[float]], base: str) -> Comparison:
    return Comparison(what, "s", {name: tuple(all_) for name, all_ in figures.items()}, base)


def _timed(contender: Callable[[], object]) -> float:
    begun = time.monotonic()
    contender()
    return time.monotonic() - begun


def one_thread_each(lab: Lab) -> None:
    """Have llama.cpp use one thread on every host, for every ssh login.

    Its threads wait by spinning: many hosts on a few cores would spend their time
    on that, which no fleet of real hosts does.
    """
    drop_in = "/etc/ssh/sshd_config.d/bench.conf"
    for host in lab.hosts.values():
        host.shell(f"echo SetEnv LLAMA_ARG_THREADS=1 >{drop_in}; systemctl reload ssh")


def prepare(lab: Lab) -> Site:
    """Write the user's flake and two inventories, and deploy for the first time."""
    one_thread_each(lab)
    fleet_vars = {
        "orchestrate_flake": str(lab.directory / "machines"),
        "orchestrate_llama_cpp": str(LLAMA_CPP_STANDIN),
    }
    inventory = lab.write_inventory(lab.directory / "inventory.yml", fleet_vars)
    eager = lab.directory / "eager.yml"
    lab.write_inventory(eager, {**fleet_vars, "orchestrate_canary": False})
    site = Site(lab, lab.controller(), inventory, eager, lab.directory / "machines")
    site.ours(site.change(max(SIZES)))
    return site


def main() -> None:
    """Measure, print the table and the line of JSON."""
    begun = time.monotonic()
    specs = (
        HostSpec(BUILDER, image="forky", features=("big-parallel", "llama-deb")),
        *(HostSpec(f"node-{number}") for number in range(1, max(SIZES) + 1)),
    )
    found: list[Comparison] = []
    logins: dict[str, dict[str, int]] = {}
    with running_lab(specs) as lab:
        site = prepare(lab)
        say(f"  {max(SIZES)} hosts are up and deployed to: {time.monotonic() - begun:.0f} s")
        for size in SIZES:
            found.append(unchanged(site, size))
            comparison, logins[f"{size} hosts"] = changed(site, size)
            found += [comparison, not_at_once(site, size)]
    say(table(found))
    say(f"logins to a host: {logins}")
    say(json_line("deploy", found, rounds=ROUNDS, logins=logins))


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"bench-deploy: {error}\n{error.stderr}")
