"""Who is left alone, what is built once where, who goes in which batch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from inventory.host import Builder, Connection, Fleet, Host, Inventory, Licence, Smoke
from inventory.rollout import Rollout
from orchestrator.errors import PlanError
from orchestrator.model.ledger import Ledger
from orchestrator.model.plan import Action, Build, Evaluation, Goal
from orchestrator.model.store import parse_derivation_path, parse_store_path
from orchestrator.model.store_contents import StoreContents
from orchestrator.model.variant import Variant, VariantChoice
from orchestrator.stages.evaluate.evaluate import PROCESS_MIB, process_limit
from orchestrator.stages.facts.facts import parse_facts
from orchestrator.stages.plan.derivations import Needs
from orchestrator.stages.plan.plan import (
    Survey,
    action_for,
    failed_before,
    make_plan,
    notes_for,
    place_builds,
)
from tests import ROOT

if TYPE_CHECKING:
    from orchestrator.model.facts import Facts

RECORDED = ROOT / "tests/unit/stages/facts/recorded" / "cpu-server.txt"
HASH = "0123456789abcdfghijklmnpqrsvwxyz"


def facts(host: str, **changes: object) -> Facts:
    """Give a machine's facts with some of them changed."""
    known = parse_facts(host, RECORDED.read_text())
    base = replace(known, system="x86_64-linux", system_features=(), load_average=0.0, cpu_count=8)
    return replace(base, **changes)  # type: ignore[arg-type]


def evaluation(host: str, llama: str = "cpu", toplevel: str = "") -> Evaluation:
    """Give what Nix might make of a host."""
    system, package = f"{HASH}-nixos-{toplevel or host}", f"{HASH}-llama-cpp-{llama}"
    return Evaluation(
        host,
        parse_derivation_path(f"/nix/store/{system}.drv"),
        parse_store_path(f"/nix/store/{system}"),
        parse_derivation_path(f"/nix/store/{package}.drv"),
        parse_store_path(f"/nix/store/{package}"),
    )


def builder(name: str, *features: str, speed: float = 1.0, system: str = "x86_64-linux") -> Host:
    """Give a host that builds."""
    known = Builder((system,), features, speed_factor=speed)
    return Host(name, Connection(name), nixos_name=name, builder=known)


def survey(targets: dict[str, tuple[Variant, Evaluation]], builders: dict[str, Facts]) -> Survey:
    """Give what is known of a fleet."""
    return Survey(
        facts={name: facts(name) for name in targets},
        choices={name: VariantChoice(name, variant, "") for name, (variant, _) in targets.items()},
        evaluations={name: made for name, (_, made) in targets.items()},
        builders=builders,
    )


def llamas(builds: tuple[Build, ...]) -> list[Build]:
    """Give the builds of llama packages."""
    return [build for build in builds if build.depends_on is None]


@pytest.mark.parametrize(
    ("running", "default", "action"),
    [
        (True, True, Action.UNCHANGED),
        (True, False, Action.DEPLOY),
        (False, True, Action.DEPLOY),
        (False, False, Action.DEPLOY),
    ],
)
def test_who_is_left_alone(action: Action, *, running: bool, default: bool) -> None:
    """Only a host that runs the wanted system and boots it as well is unchanged."""
    wanted = evaluation("carbon")
    other = parse_store_path(f"/nix/store/{HASH}-nixos-old")
    known = facts(
        "carbon",
        running_system=wanted.toplevel if running else other,
        boot_default=wanted.toplevel if default else None,
    )
    assert action_for(known, wanted) is action


@pytest.mark.parametrize(
    ("goal", "action"),
    [
        (Goal.SWITCH, Action.DEPLOY),
        (Goal.TEST, Action.DEPLOY),
        (Goal.BOOT, Action.UNCHANGED),
    ],
)
def test_what_no_run_has_confirmed_is_not_unchanged(goal: Goal, action: Action) -> None:
    """A host that would leave the wanted system by itself has to be tested and confirmed."""
    wanted = evaluation("carbon")
    known = facts(
        "carbon",
        running_system=wanted.toplevel,
        boot_default=wanted.toplevel,
        goes_back_to=parse_store_path(f"/nix/store/{HASH}-nixos-old"),
    )
    assert action_for(known, wanted, goal) is action


def test_a_derivation_is_built_once() -> None:
    """Hosts that share a package share its build; each system follows its package."""
    known = survey(
        {name: (Variant.CPU, evaluation(name)) for name in ("carbon", "boron", "nitrogen")},
        {"b1": facts("b1"), "b2": facts("b2")},
    )
    builds = place_builds(("carbon", "boron", "nitrogen"), (builder("b1"), builder("b2")), known)
    (llama,) = llamas(builds)
    assert llama.hosts == ("carbon", "boron", "nitrogen")
    assert {llama.builder, *llama.fallbacks} == {"b1", "b2"}
    toplevels = builds[1:]
    assert [build.hosts for build in toplevels] == [("carbon",), ("boron",), ("nitrogen",)]
    assert {build.depends_on for build in toplevels} == {llama.derivation}
    assert {build.builder for build in toplevels} == {llama.builder}


def test_equal_systems_are_one_build() -> None:
    """Two hosts with the very same system build it once."""
    known = survey(
        {name: (Variant.CPU, evaluation(name, toplevel="same")) for name in ("a", "b")},
        {"b1": facts("b1")},
    )
    builds = place_builds(("a", "b"), (builder("b1"),), known)
    assert [build.hosts for build in builds] == [("a", "b"), ("a", "b")]


def test_features_decide() -> None:
    """A CUDA package goes where the builder's own Nix declares cuda, and nowhere else."""
    known = survey(
        {"carbon": (Variant.CUDA, evaluation("carbon", "cuda"))},
        {"fast": facts("fast", cpu_count=64), "gpu": facts("gpu", system_features=("cuda",))},
    )
    (llama,) = llamas(place_builds(("carbon",), (builder("fast", "cuda"), builder("gpu")), known))
    assert (llama.builder, llama.fallbacks) == ("gpu", ())


def test_builders_share_the_work() -> None:
    """Distinct packages go to distinct builders where these are alike."""
    known = survey(
        {name: (Variant.CPU, evaluation(name, llama=name)) for name in ("a", "b", "c", "d")},
        {"b1": facts("b1"), "b2": facts("b2")},
    )
    placed = llamas(place_builds(("a", "b", "c", "d"), (builder("b1"), builder("b2")), known))
    assert [build.builder for build in placed] == ["b1", "b2", "b1", "b2"]


@pytest.mark.parametrize(
    ("first", "second", "chosen"),
    [
        ({}, {"cpu_count": 32}, "b2"),
        ({"load_average": 40.0}, {}, "b2"),
        ({}, {"load_average": 4.0}, "b1"),
        ({}, {}, "b1"),
    ],
)
def test_the_one_with_the_least_to_do_is_chosen(
    first: dict[str, object], second: dict[str, object], chosen: str
) -> None:
    """More processors and less load win; among equals the name decides, every time."""
    known = survey(
        {"a": (Variant.CPU, evaluation("a"))},
        {"b1": facts("b1", **first), "b2": facts("b2", **second)},
    )
    (llama,) = llamas(place_builds(("a",), (builder("b2"), builder("b1")), known))
    assert llama.builder == chosen


def test_speed_counts() -> None:
    """A speed factor of the inventory is a preference."""
    known = survey({"a": (Variant.CPU, evaluation("a"))}, {"b1": facts("b1"), "b2": facts("b2")})
    (llama,) = llamas(place_builds(("a",), (builder("b1"), builder("b2", speed=2)), known))
    assert (llama.builder, llama.fallbacks) == ("b2", ("b1",))


def test_no_builder_fits() -> None:
    """The error names what is needed, and for each builder what keeps it from it."""
    known = survey(
        {"carbon": (Variant.CUDA, evaluation("carbon", "cuda"))},
        {"plain": facts("plain"), "arm": facts("arm", system="aarch64-linux")},
    )
    builders = (builder("plain"), builder("arm", system="aarch64-linux"), builder("off"))
    with pytest.raises(PlanError, match="x86_64-linux with cuda") as caught:
        place_builds(("carbon",), builders, known)
    assert caught.value.host == "carbon"
    assert caught.value.last_lines == (
        "plain: it lacks cuda",
        "arm: it builds for aarch64-linux",
        "off: it does not answer",
    )
    assert "orchestrate_builder" in caught.value.hint


def test_a_fleet_without_builders() -> None:
    """An inventory that names no builder is told so."""
    known = survey({"carbon": (Variant.CPU, evaluation("carbon"))}, {})
    with pytest.raises(PlanError) as caught:
        place_builds(("carbon",), (), known)
    assert caught.value.last_lines == ("the inventory names no builder",)


def test_a_settled_host_takes_no_place() -> None:
    """A host that has nothing to change is in no batch's way, and builds nothing."""
    known = survey({name: (Variant.CPU, evaluation(name)) for name in ("a", "b", "c")}, {})
    done = evaluation("a").toplevel
    settled = facts("a", running_system=done, boot_default=done)
    known = replace(known, facts={**known.facts, "a": settled}, builders={"b1": facts("b1")})
    hosts = tuple(Host(name, Connection(name), nixos_name=name) for name in ("a", "b", "c", "gone"))
    inventory = Inventory(
        "hosts.yml", (*hosts, builder("b1")), {}, Fleet(rollout=Rollout(serial=(1,)))
    )
    plan = make_plan("run", inventory, hosts, known)
    assert [(host.name, host.action, host.batch) for host in plan.hosts] == [
        ("a", Action.UNCHANGED, 0),
        ("b", Action.DEPLOY, 0),
        ("c", Action.DEPLOY, 1),
    ]
    assert all("a" not in build.hosts for build in plan.builds)
    assert plan.has_work


@pytest.mark.parametrize("failing", ["llama-cpp-cpu", "nixos-carbon"])
def test_what_failed_before_keeps_its_host_out(failing: str) -> None:
    """A host that needs a build remembered to fail is told which, why, and the way on."""
    derivation = parse_derivation_path(f"/nix/store/{HASH}-{failing}.drv")
    ledger = Ledger(failed={derivation: "the build failed: paint is still wet"})
    error = failed_before(evaluation("carbon"), ledger)
    assert error is not None
    assert (error.host, error.stage) == ("carbon", "plan")
    assert error.message.startswith(f"{failing} is not rebuilt")
    assert "paint is still wet" in error.message
    assert "--retry-failed" in error.hint
    assert failed_before(evaluation("carbon"), Ledger()) is None


@pytest.mark.parametrize("lacking", ["big-parallel", "kvm"])
def test_features_of_the_derivations_themselves_decide(lacking: str) -> None:
    """A builder that lacks what a package or a system on it requires doesn't fit."""
    made = evaluation("carbon")
    assert made.llama_drv is not None
    assert made.toplevel_drv is not None
    needs = {
        made.llama_drv: Needs(frozenset({"big-parallel"})),
        made.toplevel_drv: Needs(frozenset({"kvm"})),
    }
    some = tuple({"big-parallel", "kvm"} - {lacking})
    known = survey(
        {"carbon": (Variant.CPU, made)},
        {
            "some": facts("some", system_features=some, cpu_count=64),
            "all": facts("all", system_features=("big-parallel", "kvm")),
        },
    )
    known = replace(known, needs=needs)
    llama, toplevel = place_builds(("carbon",), (builder("some"), builder("all")), known)
    assert (llama.builder, llama.fallbacks, llama.features) == ("all", (), ("big-parallel",))
    assert (toplevel.builder, toplevel.features) == ("all", ("kvm",))
    with pytest.raises(PlanError, match="x86_64-linux with big-parallel, kvm") as caught:
        place_builds(("carbon",), (builder("some"),), known)
    assert caught.value.last_lines == (f"some: it lacks {lacking}",)


def test_what_is_there_was_no_failure() -> None:
    """A build remembered to fail keeps nobody out where somebody made it since."""
    made = evaluation("carbon")
    ledger = Ledger(failed={made.llama_drv: "wet paint"} if made.llama_drv else {})
    assert failed_before(made, ledger, {made.toplevel}) is None
    assert failed_before(made, ledger, {made.llama}) is None if made.llama else False


def test_a_system_that_a_builder_has_needs_no_llama_build() -> None:
    """It is placed where it is, though that builder is slow and doesn't even fit."""
    made = evaluation("carbon", "cuda")
    known = survey(
        {"carbon": (Variant.CUDA, made)},
        {"fast": facts("fast", system_features=("cuda",)), "slow": facts("slow", cpu_count=1)},
    )
    known = replace(known, stores={"slow": StoreContents(valid={made.toplevel: 1})})
    (build,) = place_builds(("carbon",), (builder("fast"), builder("slow")), known)
    assert (build.output, build.builder, build.depends_on) == (made.toplevel, "slow", None)
    assert build.is_available
    assert build.reason == "it is there already"
    assert build.fallbacks == ("fast",)


def test_a_package_that_a_builder_has_draws_its_systems_there() -> None:
    """The package isn't built anew on a better builder; what needs it goes to it."""
    made = evaluation("carbon")
    known = survey(
        {"carbon": (Variant.CPU, made)}, {"b1": facts("b1", cpu_count=64), "b2": facts("b2")}
    )
    contents = StoreContents(valid={made.llama: 1} if made.llama else {})
    llama, toplevel = place_builds(
        ("carbon",), (builder("b1"), builder("b2")), replace(known, stores={"b2": contents})
    )
    assert (llama.builder, llama.is_available) == ("b2", True)
    assert (toplevel.builder, toplevel.is_available, toplevel.depends_on) == (
        "b2",
        False,
        llama.derivation,
    )


def test_a_host_that_has_its_system_builds_nothing() -> None:
    """Of two hosts with one system, only the one that lacks it waits for a build."""
    known = survey(
        {name: (Variant.CPU, evaluation(name, toplevel="same")) for name in ("a", "b")},
        {"b1": facts("b1")},
    )
    contents = StoreContents(valid={known.evaluations["a"].toplevel: 1})
    hosts = tuple(Host(name, Connection(name), nixos_name=name) for name in ("a", "b"))
    inventory = Inventory("hosts.yml", (*hosts, builder("b1")), {}, Fleet())
    plan = make_plan("run", inventory, hosts, replace(known, stores={"a": contents}))
    assert [(host.name, host.has_system, host.awaited) for host in plan.hosts] == [
        ("a", True, None),
        ("b", False, known.evaluations["b"].toplevel_drv),
    ]
    assert {build.hosts for build in plan.builds} == {("b",)}


@pytest.mark.parametrize(
    ("cpus", "available", "budget", "processes"),
    [
        (8, 64_000, None, 8),
        (8, 4 * PROCESS_MIB, None, 3),
        (8, 100, None, 1),
        (8, 64_000, 2 * PROCESS_MIB, 2),
        (8, 100, 3 * PROCESS_MIB, 3),
        (1, 64_000, None, 1),
        (8, 64_000, 0, 1),
    ],
)
def test_how_many_evaluate_at_once(
    cpus: int, available: int, budget: int | None, processes: int
) -> None:
    """As many as processors and memory allow, the inventory's budget first, never none."""
    assert process_limit(cpus, available, budget) == processes


def test_a_smoke_longer_than_the_way_back_is_told_of() -> None:
    """A machine that would go back in the middle of its smoke is warned of in the plan."""
    slow = Host("carbon", Connection("carbon"), nixos_name="carbon", smoke=Smoke(timeout=300))
    choice = VariantChoice("carbon", Variant.CPU, "no GPU → cpu")
    assert notes_for(slow, choice, Fleet(confirm_timeout=300.0))
    assert not notes_for(slow, choice, Fleet(confirm_timeout=301.0))


@pytest.mark.parametrize(
    ("variant", "accepted", "told"),
    [
        (Variant.CUDA, (Licence.CUDA,), True),
        (Variant.RPC_CUDA, (Licence.CUDA,), True),
        (Variant.CUDA, (), False),
        (Variant.VULKAN, (Licence.CUDA,), False),
    ],
)
def test_an_accepted_licence_is_told_of(
    variant: Variant, accepted: tuple[Licence, ...], *, told: bool
) -> None:
    """The plan says on which machines the accepted licence matters, and on no others."""
    host = Host("carbon", Connection("carbon"), nixos_name="carbon")
    notes = notes_for(host, VariantChoice("carbon", variant, ""), Fleet(accept_licences=accepted))
    assert any("CUDA EULA" in note for note in notes) is told


def test_extreme_cpu_goes_where_its_code_runs() -> None:
    """Of two builders, one declares gccarch-x86-64-v3: only that one gets the package."""
    known = survey(
        {"carbon": (Variant.EXTREME_CPU, evaluation("carbon", "extreme"))},
        {
            "anvil": facts("anvil", system_features=("big-parallel", "gccarch-x86-64-v3")),
            "forge": facts("forge", system_features=("big-parallel", "cuda"), cpu_count=64),
        },
    )
    choice = replace(known.choices["carbon"], march="x86-64-v3")
    wanted = replace(known, choices={"carbon": choice})
    builders = (builder("anvil"), builder("forge"))
    (llama,) = llamas(place_builds(("carbon",), builders, wanted))
    assert (llama.builder, llama.fallbacks) == ("anvil", ())
    assert llama.features == ("gccarch-x86-64-v3",)
    with pytest.raises(PlanError, match="x86_64-linux with gccarch-x86-64-v4"):
        place_builds(
            ("carbon",),
            builders,
            replace(known, choices={"carbon": replace(choice, march="x86-64-v4")}),
        )
