"""What the benchmarks make of their figures."""

from __future__ import annotations

import json
import subprocess

import pytest
import yaml

from bench.builds import begun_units, makespan
from bench.cpu import BUILDS, compare, cpu_flags, parse_speeds
from bench.deploy_peers import bare_script, plain_logins, playbook, smoke_line
from bench.report import Comparison, json_line, spread, table

ROWS = (
    '[{"n_prompt": 128, "n_gen": 0, "avg_ts": 210.5}, {"n_prompt": 0, "n_gen": 32, "avg_ts": 97}]'
)


def test_ratios_are_taken_round_by_round() -> None:
    """A machine that slows down for both contenders leaves their ratio as it is."""
    drifting = Comparison("copy", "s", {"ours": (1.0, 10.0), "theirs": (2.0, 20.0)}, base="ours")
    found = drifting.ratios()
    assert list(found) == ["theirs"]
    assert found["theirs"] == spread([2.0, 2.0])


def test_table_and_json_name_every_contender() -> None:
    """The table has a line for each, the JSON a ratio with its spread for all but the base."""
    figures = {"ours": (1.0, 1.0, 1.0), "theirs": (2.0, 3.0, 4.0)}
    comparison = Comparison("copy", "s", figures, base="ours")
    lines = table([comparison]).splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["copy", "ours"], ["copy", "theirs"]]
    told = json.loads(json_line("copy", [comparison], hosts=8))
    assert told["ratios"]["copy"]["theirs/ours"] == {"min": 2.0, "median": 3.0, "max": 4.0}
    assert told["hosts"] == 8


def test_no_figures_are_an_error() -> None:
    """A benchmark that measured nothing has no median."""
    with pytest.raises(ValueError, match="no figures"):
        spread([])


def test_llama_benchs_rows_become_speeds() -> None:
    """A row with a prompt is prompt processing, one without is generation."""
    assert parse_speeds(ROWS) == {"pp": 210.5, "tg": 97.0}


def test_each_test_is_compared_with_the_baseline() -> None:
    """Prompt processing and generation each have all three builds."""
    rounds = [{name: {"pp": 10.0 * n, "tg": 1.0 * n} for n, name in enumerate(BUILDS, 1)}] * 2
    prompt, generation = compare(rounds)
    assert (prompt.what, generation.what) == ("pp128", "tg32")
    assert prompt.ratios()["extreme"].median == 3.0
    assert generation.ratios()["dispatch"].median == 2.0


def test_a_makespan_is_from_the_first_start_to_the_last_end() -> None:
    """Notes of other builds don't count, and one that was built twice is no measurement."""
    notes = "a 10.0\nother 1.0\nb 12.5\na 14.0\nother 99.0\nb 13.0\n"
    assert makespan(notes, ("a", "b")) == 4.0
    with pytest.raises(ValueError, match="once"):
        makespan(f"{notes}a 20.0\na 21.0\n", ("a", "b"))


def test_units_that_were_started_are_counted() -> None:
    """Only starts count, and only of the derivations that were asked for."""
    drv = f"/nix/store/{'a' * 32}-llama-cpp.drv"
    unit = f"orchestrate-build-{'a' * 32}.service"
    journal = f"Started {unit} - x.\n{unit}: Deactivated.\nStarted orchestrate-build-bbb.service\n"
    assert begun_units(journal, (drv,)) == 1


def test_flags_are_those_of_the_first_processor() -> None:
    """The flags are words of one line; a machine without that line has none."""
    assert cpu_flags("processor\t: 0\nflags\t\t: fpu avx2 fma\n") == ("fpu", "avx2", "fma")
    assert cpu_flags("processor\t: 0\nFeatures\t: fp asimd\n") == ()


SYSTEMS = {"node-1": "/nix/store/a-system", "node-2": "/nix/store/b-system"}


@pytest.mark.parametrize("parallel", [True, False])
def test_bare_commands_are_what_one_would_type(*, parallel: bool) -> None:
    """Each host costs two logins, one of them the copy's, and the shell can read all of it."""
    smoke = smoke_line("/models/it's.gguf", "The capital of France is", 16)
    script = bare_script("forge", SYSTEMS, smoke, "ssh -F config", parallel=parallel)
    subprocess.run(("sh", "-n", "-c", script), check=True)
    assert script.count("nix-command copy") == script.count("ssh -F config node-") == len(SYSTEMS)
    assert script.count("} &") == (len(SYSTEMS) if parallel else 0)
    for name, system in SYSTEMS.items():
        assert f"--to ssh-ng://{name} {system} && ssh -F config {name} " in script


def test_play_has_the_same_steps() -> None:
    """Ansible copies, sets the profile, activates and smokes, each host its own system."""
    (play,) = yaml.safe_load(playbook("forge", "node-1:node-2", SYSTEMS, "smoke it"))
    assert play["vars"]["toplevels"] == SYSTEMS
    assert [task["name"] for task in play["tasks"]] == ["copy", "switch", "switch", "smoke"]
    assert play["tasks"][-1]["ansible.builtin.raw"] == "smoke it"


def test_plain_logins_go_all_at_once() -> None:
    """Nobody waits for the login to another host."""
    script = plain_logins(("node-1", "node-2"), "ssh")
    assert script.splitlines() == ["ssh node-1 true &", "ssh node-2 true &", "wait"]
