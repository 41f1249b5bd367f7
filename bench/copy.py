"""`make bench-copy`: a closure to eight targets, beside `nix copy`.

Ours, `nix copy --from BUILDER --to TARGET` one after another, and the same in
parallel, take turns with closures of their own of the same make: on a plain link,
at 20 ms of latency between the controller and every host, with a controller whose
uplink carries 50 Mbit/s, and with nothing to copy.
"""

from __future__ import annotations

import shlex
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.report import Comparison, json_line, say, table
from tests.lab import Controller, Lab, running_lab
from tests.lab.network import clear_rate, set_rate
from tests.lab.processes import REPOSITORY
from tests.lab.spec import HostSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


TARGETS = tuple(f"node-{number}" for number in range(1, 9))
BUILDER = "forge"
ROUNDS = 3
LATENCY_MILLISECONDS = 20.0
UPLINK = "50mbit"

_number = count()

# Small paths as a system has many, and a few large ones as llama.cpp's; half of
# each byte is random, so that it compresses about as programs do.
_CLOSURE = """
let
  path = size: n: derivation {
    name = "part-@name@-${toString n}"; system = "x86_64-linux"; builder = "/bin/sh";
    PATH = "/usr/bin:/bin";
    args = [ "-c" "head -c ${toString size} /dev/urandom | od -An -tx1 -v >$out" ];
  };
  parts = builtins.genList (path @small@) @smalls@ ++ [ (path @large@ 1000) (path @large@ 1001) ];
in derivation {
  name = "closure-@name@"; system = "x86_64-linux"; builder = "/bin/sh";
  args = [ "-c" "echo ${toString parts} >$out" ];
}
"""


@dataclass(frozen=True)
class Site:
    """A lab as a benchmark sees it: by which inventory and which ssh configuration."""

    lab: Lab
    controller: Controller
    inventory: Path
    ssh_config: Path

    def closure(self, megabytes: float) -> str:
        """Have a closure of about that size on the builder, on no target yet."""
        values = {
            "name": f"{time.time_ns()}-{next(_number)}",
            "smalls": "60",
            # od writes three bytes for one.
            "small": str(int(megabytes * 1e6 / 3 / 4 / 60)),
            "large": str(int(megabytes * 1e6 / 3 * 3 / 8)),
        }
        text = _CLOSURE
        for name, value in values.items():
            text = text.replace(f"@{name}@", value)
        build = f"nix-build --max-jobs 2 --no-out-link --expr {shlex.quote(text)} 2>/dev/null"
        return self.lab[BUILDER].shell(build).strip()

    def ours(self, path: str) -> None:
        """Copy as a run does it."""
        argv = [sys.executable, "-m", "bench.copy_ours", str(self.inventory), path]
        env = {"PYTHONPATH": str(REPOSITORY)}
        routes = self.controller.run(argv, env=env, timeout=600).stdout.splitlines()
        say(f"    ours: {', '.join(sorted(set(routes)))[:160]}")

    def one_after_another(self, path: str) -> None:
        """Copy by `nix copy`, to a target at a time."""
        self._nix_copies(path, "; ")

    def in_parallel(self, path: str) -> None:
        """Copy by `nix copy`, to all targets at once."""
        self._nix_copies(path, " & ")

    def _nix_copies(self, path: str, joint: str) -> None:
        nix = "nix --extra-experimental-features nix-command copy --no-check-sigs"
        lines = (f"{nix} --from ssh-ng://{BUILDER} --to ssh-ng://{name} {path}" for name in TARGETS)
        text = f"{joint.join(lines)}{joint}wait"
        env = {"NIX_SSHOPTS": f"-F {self.ssh_config}"}
        self.controller.run(["sh", "-c", text], env=env, timeout=600)
        for name in TARGETS:
            self.lab[name].shell(f"nix-store --check-validity {path}")


def measured(what: str, site: Site, megabytes: float) -> Comparison:
    """Let the contenders take turns, each with closures of its own."""
    contenders: Mapping[str, Callable[[str], None]] = {
        "ours": site.ours,
        "nix copy, one after another": site.one_after_another,
        "nix copy, in parallel": site.in_parallel,
    }
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(1, ROUNDS + 1):
        for name, contender in contenders.items():
            path = site.closure(megabytes)
            figures[name].append(_timed(contender, path))
            say(f"  {what}, round {number}: {name}: {figures[name][-1]:.2f} s")
    return _compared(what, figures)


def nothing_to_copy(site: Site) -> Comparison:
    """Let the contenders find out that everything is there."""
    path = site.closure(1)
    site.ours(path)
    contenders = {"ours": site.ours, "nix copy, in parallel": site.in_parallel}
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, contender in contenders.items():
            figures[name].append(_timed(contender, path))
    return _compared("nothing to copy", figures)


def _compared(what: str, figures: Mapping[str, list[float]]) -> Comparison:
    return Comparison(what, "s", {name: tuple(all_) for name, all_ in figures.items()}, base="ours")


def _timed(contender: Callable[[str], None], path: str) -> float:
    begun = time.monotonic()
    contender(path)
    return time.monotonic() - begun


def slowed(site: Site, stack: ExitStack) -> Site:
    """Return the same lab with a long way between the controller and every host."""
    endpoints = {
        name: stack.enter_context(site.lab[name].latency(LATENCY_MILLISECONDS))
        for name in (BUILDER, *TARGETS)
    }
    far: dict[str, dict[str, Any]] = {
        name: {"ansible_host": endpoint.address, "ansible_port": endpoint.port}
        for name, endpoint in endpoints.items()
    }
    for name in TARGETS:
        far[name]["orchestrate_copy_route"] = "relay"
    lines = "".join(
        f"Host {name}\n  HostName {endpoint.address}\n  Port {endpoint.port}\n"
        for name, endpoint in endpoints.items()
    )
    config = site.inventory.with_name("ssh_config-far")
    config.write_text(lines + site.ssh_config.read_text())
    inventory = site.inventory.with_name("inventory-far.yml")
    site.lab.write_inventory(inventory, {}, far)
    return replace(site, inventory=inventory, ssh_config=config)


def main() -> None:
    """Measure, print the table and the line of JSON."""
    specs = (
        HostSpec(BUILDER, image="forky", features=("big-parallel",)),
        *(HostSpec(name) for name in TARGETS),
    )
    with running_lab(specs) as lab:
        inventory = lab.write_inventory(lab.directory / "inventory-bench.yml")
        site = Site(lab, lab.controller(), inventory, lab.ssh_config)
        found = [measured("40 MB, plain link", site, 40), nothing_to_copy(site)]
        with ExitStack() as stack:
            far = slowed(site, stack)
            found.append(measured("5 MB, 20 ms away, relayed", far, 5))
        set_rate(lab.site.controller, "eth0", UPLINK)
        found.append(measured("40 MB, 50 Mbit/s uplink", site, 40))
        clear_rate(lab.site.controller, "eth0")
    say(table(found))
    say(json_line("copy", found, targets=len(TARGETS), rounds=ROUNDS))


if __name__ == "__main__":
    main()
