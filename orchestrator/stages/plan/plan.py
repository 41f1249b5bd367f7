"""Plan: who is left alone, what is built once where, who goes in which batch.

Pure: everything it needs was looked at before, nothing is touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from inventory.host import Licence
from orchestrator.errors import Failure, PlanError
from orchestrator.model.facts import Facts
from orchestrator.model.ledger import Ledger
from orchestrator.model.plan import Action, Build, Evaluation, Goal, HostPlan, Plan
from orchestrator.model.stage import Stage
from orchestrator.model.store import DerivationPath, StorePath, derivation_name
from orchestrator.model.store_contents import StoreContents
from orchestrator.model.variant import Backend, VariantChoice
from orchestrator.stages.plan.batches import in_batches, policy_of
from orchestrator.stages.plan.derivations import Needs
from orchestrator.stages.plan.inhibitors import inhibited_by, inhibited_note
from orchestrator.stages.plan.placement import (
    Candidate,
    PlacementContext,
    Wanted,
    lacks_room,
    rank,
    reason_for,
)
from orchestrator.stages.plan.reboot_need import reboot_need

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from inventory.host import Fleet, Host, Inventory
    from orchestrator.stages.plan.placement import Estimate

_Package = tuple[DerivationPath, StorePath]


@dataclass(frozen=True, slots=True)
class Survey:
    """What is known of the fleet when the plan is made.

    `builders` are the facts of the builders that answered. `unreachable`,
    `blocked` and `failed` map a host left out to what went wrong. `ledger` is what
    earlier runs know of builds and builders. `stores` maps a machine to what it
    has of what is wanted; it lacks those that could not be asked. `needs` is what
    building each derivation asks for.
    """

    facts: Mapping[str, Facts]
    choices: Mapping[str, VariantChoice]
    evaluations: Mapping[str, Evaluation]
    builders: Mapping[str, Facts] = field(default_factory=dict)
    unreachable: dict[str, Failure] = field(default_factory=dict)
    blocked: dict[str, Failure] = field(default_factory=dict)
    failed: dict[str, Failure] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    stores: Mapping[str, StoreContents] = field(default_factory=dict)
    needs: Mapping[DerivationPath, Needs] = field(default_factory=dict)

    def store(self, machine: str) -> StoreContents:
        """Return what a machine is known to have."""
        return self.stores.get(machine) or StoreContents()

    def features(self, derivation: DerivationPath | None) -> frozenset[str]:
        """Return the system features that a derivation itself requires."""
        known = self.needs.get(derivation) if derivation is not None else None
        return known.features if known else frozenset()

    def has_system(self, host: str) -> bool:
        """Whether the system that a host is to get is in its store already."""
        return self.evaluations[host].toplevel in self.store(host).valid


def action_for(facts: Facts, evaluation: Evaluation, goal: Goal = Goal.SWITCH) -> Action:
    """Decide whether a host has to change.

    For a switch it hasn't when the wanted system both runs and is what the next
    boot gives: a system that was only tested is not deployed.
    """
    return Action.UNCHANGED if goal.is_met(facts, evaluation.toplevel) else Action.DEPLOY


def failed_before(
    evaluation: Evaluation, ledger: Ledger, there: Collection[StorePath] = ()
) -> PlanError | None:
    """Say which build of a host is remembered to fail; None if none is.

    Args:
        evaluation: what the host needs.
        ledger: what is remembered.
        there: outputs that nobody has to build any more.
    """
    if evaluation.toplevel in there:
        return None
    packages = (_llama_of(evaluation), _toplevel_of(evaluation))
    for derivation, output in filter(None, packages):
        if derivation in ledger.failed and output not in there:
            return PlanError(
                message=f"{derivation_name(derivation)} is not rebuilt: it failed before:"
                f" {ledger.failed[derivation]}",
                hint="change what failed, or retry it unchanged with --retry-failed",
                host=evaluation.host,
                stage=Stage.PLAN,
            )
    return None


def make_plan(
    run: str,
    inventory: Inventory,
    hosts: Sequence[Host],
    survey: Survey,
    goal: Goal = Goal.SWITCH,
) -> Plan:
    """Decide a whole run.

    Args:
        run: the run's id.
        inventory: for the builders and the fleet's settings.
        hosts: the targets that were asked for, in the inventory's order.
        survey: what is known of them.
        goal: how far the run goes.

    Raises:
        PlanError: a host has to change and no builder fits what it needs.
    """
    ready = [
        _host_plan(host, inventory.fleet, survey, goal)
        for host in hosts
        if host.name in survey.evaluations
    ]
    moving = [host.name for host in ready if host.action is Action.DEPLOY and not host.has_system]
    return Plan(
        run=run,
        hosts=in_batches(ready, inventory.fleet.rollout),
        builders=inventory.builders,
        builds=place_builds(moving, inventory.builders, survey),
        unreachable=survey.unreachable,
        blocked=survey.blocked,
        failed=survey.failed,
        confirm_timeout=inventory.fleet.confirm_timeout,
        way_back_timeout=inventory.fleet.way_back_timeout,
        policy=policy_of(ready, inventory, survey.unreachable),
        goal=goal,
    )


def _host_plan(host: Host, fleet: Fleet, survey: Survey, goal: Goal) -> HostPlan:
    facts, choice = survey.facts[host.name], survey.choices[host.name]
    evaluation = survey.evaluations[host.name]
    need = reboot_need(facts, evaluation)
    action = action_for(facts, evaluation, goal)
    changes = (
        inhibited_by(facts, evaluation) if action is Action.DEPLOY and goal is Goal.SWITCH else ()
    )
    return HostPlan(
        target=host,
        facts=facts,
        choice=choice,
        evaluation=evaluation,
        action=action,
        notes=notes_for(host, choice, fleet) + notes_on(facts, changes),
        has_system=survey.has_system(host.name),
        reboot_for=need.changed,
        reboot_unknown=need.unknown,
        inhibited_by=changes,
    )


def notes_for(host: Host, choice: VariantChoice, fleet: Fleet) -> tuple[str, ...]:
    """Say what the user should know of a host before it is touched."""
    notes = []
    checks = host.smoke.timeout + (host.health.timeout if host.health else 0.0)
    if checks >= fleet.confirm_timeout:
        which = "smoke test and health check" if host.health else "smoke test"
        notes.append(
            f"its {which} may take {checks:g} s, but it goes back by itself after"
            f" {fleet.confirm_timeout:g} s: raise orchestrate_confirm_timeout"
        )
    if choice.variant.backend is Backend.CUDA and Licence.CUDA in fleet.accept_licences:
        notes.append(
            "orchestrate_accept_licences accepts the CUDA EULA for the packages of this build"
        )
    return tuple(notes)


def notes_on(facts: Facts, changes: Sequence[str]) -> tuple[str, ...]:
    """Say what of a host's present state decides how it changes. Pure."""
    notes = []
    if facts.goes_back_to is not None:
        notes.append(f"no run has confirmed what it runs: going back leads to {facts.goes_back_to}")
    if facts.failed_units:
        notes.append(
            f"failed there already: {', '.join(facts.failed_units)};"
            " that counts against its new system only where it changes them"
        )
    if changes:
        notes.append(inhibited_note(changes))
    return tuple(notes)


def place_builds(
    moving: Sequence[str], builders: Sequence[Host], survey: Survey
) -> tuple[Build, ...]:
    """Place each distinct derivation once, llama packages before the systems that hold them.

    A system that a builder has, or can fetch, needs no llama package to be built.

    Args:
        moving: the hosts whose system has to come from a builder.
        builders: the inventory's.
        survey: what is known of hosts and builders.

    Raises:
        PlanError: no builder fits a derivation.
    """
    systems = _shared(moving, survey, _toplevel_of)
    builds = {
        package: build
        for package, hosts in systems.items()
        if (build := _place_what_is_there(package, hosts, builders, survey))
    }
    rest = [host for host in moving if _toplevel_of(survey.evaluations[host]) not in builds]
    llamas: dict[DerivationPath, Build] = {}
    assigned: dict[str, list[float]] = {}
    for package, hosts in _shared(rest, survey, _llama_of).items():
        build, seconds = _place_llama(package, hosts, builders, survey, assigned)
        assigned.setdefault(build.builder, []).append(seconds)
        llamas[package[0]] = build
    for package, hosts in _shared(rest, survey, _toplevel_of).items():
        llama = survey.evaluations[hosts[0]].llama_drv
        if llama is not None:
            builds[package] = _beside(llamas[llama], package, hosts, survey)
    return (*llamas.values(), *(builds[package] for package in systems if package in builds))


def _toplevel_of(evaluation: Evaluation) -> _Package | None:
    drv = evaluation.toplevel_drv
    return (drv, evaluation.toplevel) if drv is not None else None


def _llama_of(evaluation: Evaluation) -> _Package | None:
    drv, output = evaluation.llama_drv, evaluation.llama
    return (drv, output) if drv is not None and output is not None else None


def _shared(
    hosts: Sequence[str], survey: Survey, package_of: Callable[[Evaluation], _Package | None]
) -> dict[_Package, list[str]]:
    """Return each distinct package with the hosts that need it."""
    users: dict[_Package, list[str]] = {}
    for host in hosts:
        package = package_of(survey.evaluations[host])
        if package is not None:
            users.setdefault(package, []).append(host)
    return users


def _place_what_is_there(
    package: _Package, hosts: Sequence[str], builders: Sequence[Host], survey: Survey
) -> Build | None:
    """Place a system where it is, or can be fetched; None if it must be built."""
    wanted = Wanted(*package, survey.features(package[0]))
    candidates = _candidates(wanted, hosts, builders, survey)
    ranked = rank(wanted, PlacementContext(candidates, survey.ledger))
    if not ranked or not ranked[0].is_available:
        return None
    return _build(wanted, hosts, ranked, survey.ledger)


def _place_llama(
    package: _Package,
    hosts: Sequence[str],
    builders: Sequence[Host],
    survey: Survey,
    assigned: Mapping[str, Sequence[float]],
) -> tuple[Build, float]:
    """Place one package; give its build, and the seconds that it may take there.

    The systems that hold it are built beside it, so that their features count too.
    """
    choice = survey.choices[hosts[0]]
    needs = survey.needs.get(package[0]) or Needs()
    wanted = Wanted(*package, choice.builder_features | needs.features, needs.inputs)
    systems = (survey.evaluations[host].toplevel_drv for host in hosts)
    of_all = wanted.features.union(*map(survey.features, systems))
    candidates = _candidates(replace(wanted, features=of_all), hosts, builders, survey)
    if not candidates:
        raise _no_builder(replace(wanted, features=of_all), hosts, builders, survey)
    ranked = rank(wanted, PlacementContext(candidates, survey.ledger, assigned))
    return _build(wanted, hosts, ranked, survey.ledger), ranked[0].work


def _candidates(
    wanted: Wanted, hosts: Sequence[str], builders: Sequence[Host], survey: Survey
) -> tuple[Candidate, ...]:
    """Return the builders that can build it, and those that needn't, for they have it."""
    system = survey.facts[hosts[0]].system
    answered = [
        Candidate(builder, survey.builders[builder.name], survey.store(builder.name))
        for builder in builders
        if builder.name in survey.builders
    ]
    return tuple(
        one
        for one in answered
        if wanted.output in one.store.valid
        or not missing_for(one.host, one.facts, system, wanted.features)
    )


def _build(
    wanted: Wanted, hosts: Sequence[str], ranked: Sequence[Estimate], ledger: Ledger
) -> Build:
    best, *others = ranked
    return Build(
        derivation=wanted.derivation,
        output=wanted.output,
        builder=best.builder,
        fallbacks=tuple(other.builder for other in others),
        features=tuple(sorted(wanted.features)),
        hosts=tuple(hosts),
        reason=reason_for(best, others, ledger),
        is_available=best.is_available,
        is_there=best.is_there,
    )


def _beside(llama: Build, package: _Package, hosts: Sequence[str], survey: Survey) -> Build:
    """Place a system where its llama package is."""
    return Build(
        derivation=package[0],
        output=package[1],
        builder=llama.builder,
        fallbacks=llama.fallbacks,
        features=tuple(sorted(survey.features(package[0]))),
        hosts=tuple(hosts),
        reason=f"where its llama package is: {llama.builder}",
        depends_on=llama.derivation,
    )


def missing_for(builder: Host, facts: Facts | None, system: str, features: frozenset[str]) -> str:
    """Say what keeps a builder from building for `system` with `features`; empty if nothing.

    A feature counts when the builder's own Nix declares it: what only the
    inventory says would fail there.
    """
    if facts is None:
        return "it does not answer"
    if builder.builder is None or system not in (facts.system, *builder.builder.systems):
        return f"it builds for {facts.system}"
    lacking = sorted(features - set(facts.system_features))
    return f"it lacks {', '.join(lacking)}" if lacking else lacks_room(facts, features)


def _no_builder(
    wanted: Wanted, hosts: Sequence[str], builders: Sequence[Host], survey: Survey
) -> PlanError:
    system, features = survey.facts[hosts[0]].system, wanted.features
    reasons = [
        f"{builder.name}: "
        + missing_for(builder, survey.builders.get(builder.name), system, features)
        for builder in builders
    ]
    needed = " with ".join((system, ", ".join(sorted(features)))) if features else system
    return PlanError(
        message=f"no builder for {needed}, which {', '.join(hosts)} need"
        if len(hosts) > 1
        else f"no builder for {needed}, which it needs",
        host=hosts[0] if len(hosts) == 1 else "",
        stage=Stage.PLAN,
        last_lines=tuple(reasons) or ("the inventory names no builder",),
        hint="declare the feature in system-features of a builder's nix.conf, or add a builder"
        " with orchestrate_builder",
    )
