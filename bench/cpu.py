"""`make bench-cpu`: what run-time dispatch and one instruction set are worth.

Builds llama.cpp three times from one source on a builder of the lab, through
upstream's package and through our overlay, and lets their llama-bench take turns
on a real model: prompt processing (pp) and generation (tg), in tokens per second.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from bench.report import Comparison, json_line, say, table
from orchestrator.stages.variant.instruction_sets import ggml_features, psabi_level
from tests.lab import running_lab
from tests.lab.built import realise_cached
from tests.lab.fleet_flake import NIXOS_STANDIN
from tests.lab.llama_source import llama_source
from tests.lab.models import smollm2
from tests.lab.spec import HostSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.lab import Host, Lab

BUILDS = ("baseline", "dispatch", "extreme")
ROUNDS = 7
PROMPT_TOKENS = 128
GENERATED_TOKENS = 32
_MODEL = "/var/lib/bench/model.gguf"
_BASELINE_LEVEL = "x86-64"

# What one build did in one round: tokens per second by test, pp or tg.
Speeds = dict[str, float]


def cpu_flags(cpuinfo: str) -> tuple[str, ...]:
    """Read the processor's flags out of /proc/cpuinfo."""
    lines = (line.split(":", 1) for line in cpuinfo.splitlines() if ":" in line)
    return next((tuple(value.split()) for name, value in lines if name.strip() == "flags"), ())


def builds_expression(flags: Sequence[str]) -> str:
    """Render the Nix expression of the three builds, for a processor with these flags."""
    features = " ".join(json.dumps(feature) for feature in ggml_features(flags))
    packages = f'import {NIXOS_STANDIN} {{ system = "x86_64-linux"; config = {{ }}; }}'
    march = psabi_level(flags)
    arguments = (
        f"pkgs = {packages};",
        f"source = {llama_source()};",
        f"cpuFeatures = [ {features} ];",
        f"march = {json.dumps(march)};",
    )
    return f"import {Path(__file__).with_name('llama-bench.nix')} {{ {' '.join(arguments)} }}"


def build(lab: Lab, builder: Host, flags: Sequence[str]) -> dict[str, str]:
    """Have every build on the builder, from the cache if it was made before."""
    programs = {}
    for name in BUILDS:
        argv = ("nix-instantiate", "--expr", f"({builds_expression(flags)}).{name}")
        derivation = lab.controller().run(argv).stdout.strip()
        say(f"{name}: {derivation}")
        programs[name] = f"{realise_cached(lab, builder, derivation)}/bin/llama-bench"
    return programs


def send_model(builder: Host) -> None:
    """Put the model on the host."""
    argv = builder.exec_argv("install", "-D", "/dev/stdin", _MODEL)
    with smollm2().open("rb") as stream:
        subprocess.run(argv, stdin=stream, check=True)


def measure(builder: Host, program: str, threads: int) -> Speeds:
    """Run one llama-bench once, on the host itself."""
    counts = ("-p", str(PROMPT_TOKENS), "-n", str(GENERATED_TOKENS))
    once = ("-r", "1", "-t", str(threads), "-o", "json")
    done = builder.exec(program, "-m", _MODEL, *counts, *once, timeout=600)
    return parse_speeds(done.stdout)


def parse_speeds(output: str) -> Speeds:
    """Read `llama-bench -o json`: a row a test, `avg_ts` its tokens per second."""
    rows = json.loads(output)
    return {("pp" if row["n_prompt"] else "tg"): float(row["avg_ts"]) for row in rows}


def compare(rounds: Sequence[Mapping[str, Speeds]]) -> list[Comparison]:
    """Put the rounds beside each other, by test."""
    sizes = {"pp": PROMPT_TOKENS, "tg": GENERATED_TOKENS}
    return [
        Comparison(
            what=f"{test}{size}",
            unit="tokens/s",
            figures={name: tuple(one[name][test] for one in rounds) for name in BUILDS},
            base="baseline",
        )
        for test, size in sizes.items()
    ]


def main() -> None:
    """Build, measure, print the table and the line of JSON."""
    flags = cpu_flags(Path("/proc/cpuinfo").read_text(encoding="ascii"))
    level = psabi_level(flags) or _BASELINE_LEVEL
    features = ("big-parallel", f"gccarch-{level}")
    with running_lab((HostSpec("forge", image="forky", features=features),)) as lab:
        builder = lab["forge"]
        programs = build(lab, builder, flags)
        send_model(builder)
        threads = int(builder.shell("nproc"))
        rounds = []
        for number in range(1, ROUNDS + 1):
            rounds.append(
                {name: measure(builder, program, threads) for name, program in programs.items()}
            )
            say(f"round {number}: {json.dumps(rounds[-1])}")
    found = compare(rounds)
    say(table(found))
    say(json_line("cpu", found, march=level, threads=threads, rounds=ROUNDS))


if __name__ == "__main__":
    main()
