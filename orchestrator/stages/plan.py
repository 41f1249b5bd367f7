"""Plan: who is left alone, what is built once where, who goes in which batch.

Pure: everything it needs was looked at before, nothing is touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from inventory.host import Licence
from orchestrator.errors import PlanError
from orchestrator.model.facts import Facts
from orchestrator.model.ledger import Ledger
from orchestrator.model.plan import Action, Build, Evaluation, HostPlan, Plan
from orchestrator.model.store import derivation_name
from orchestrator.model.variant import Backend, VariantChoice
from orchestrator.stages.batches import in_batches, policy_of
from orchestrator.stages.placement import Candidate, Situation, lacks_room, rank, reason_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inventory.host import Fleet, Host, Inventory
    from orchestrator.model.store import DerivationPath, StorePath


@dataclass(frozen=True, slots=True)
class Survey:
    """What is known of the fleet when the plan is made.

    `builders` are the facts of the builders that answered. `unreachable`,
    `blocked` and `failed` map a host left out to the reason. `ledger` is what
    earlier runs know of builds and builders.
    """

    facts: Mapping[str, Facts]
    choices: Mapping[str, VariantChoice]
    evaluations: Mapping[str, Evaluation]
    builders: Mapping[str, Facts]
    unreachable: dict[str, str] = field(default_factory=dict)
    blocked: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)


def action_for(facts: Facts, evaluation: Evaluation) -> Action:
    """Decide whether a host has to change.

    It hasn't when the wanted system both runs and is what the next boot gives:
    a system that was only tested is not deployed.
    """
    wanted = evaluation.toplevel
    settled = facts.running_system == wanted and facts.boot_default == wanted
    return Action.UNCHANGED if settled else Action.DEPLOY


def failed_before(evaluation: Evaluation, ledger: Ledger) -> PlanError | None:
    """Say which build of a host is remembered to fail; None where none is."""
    for derivation in (evaluation.llama_drv, evaluation.toplevel_drv):
        if derivation is not None and derivation in ledger.failed:
            return PlanError(
                message=f"{derivation_name(derivation)} is not built again, for it has failed"
                f" before: {ledger.failed[derivation]}",
                hint="change what failed, or try the very same again with --retry-failed",
                host=evaluation.host,
                stage="plan",
            )
    return None


def make_plan(run: str, inventory: Inventory, hosts: Sequence[Host], survey: Survey) -> Plan:
    """Decide a whole run.

    Args:
        run: the run's id.
        inventory: for the builders and the fleet's settings.
        hosts: the targets that were asked for, in the inventory's order.
        survey: what is known of them.

    Raises:
        PlanError: a host has to change and no builder fits what it needs.
    """
    ready = [
        HostPlan(
            host=host,
            facts=survey.facts[host.name],
            choice=survey.choices[host.name],
            evaluation=survey.evaluations[host.name],
            action=action_for(survey.facts[host.name], survey.evaluations[host.name]),
            notes=notes_for(host, survey.choices[host.name], inventory.fleet),
        )
        for host in hosts
        if host.name in survey.evaluations
    ]
    moving = [host.name for host in ready if host.action is Action.DEPLOY]
    return Plan(
        run=run,
        hosts=in_batches(ready, inventory.fleet.rollout),
        builders=inventory.builders,
        builds=place_builds(moving, inventory.builders, survey),
        unreachable=survey.unreachable,
        blocked=survey.blocked,
        failed=survey.failed,
        confirm_timeout=inventory.fleet.confirm_timeout,
        policy=policy_of(ready, inventory, survey.unreachable),
    )


def notes_for(host: Host, choice: VariantChoice, fleet: Fleet) -> tuple[str, ...]:
    """Say what the user should know of a host before it is touched."""
    notes = []
    if host.smoke.timeout >= fleet.confirm_timeout:
        notes.append(
            f"its smoke may take {host.smoke.timeout:g} s, but it goes back by itself after"
            f" {fleet.confirm_timeout:g} s: raise orchestrate_confirm_timeout"
        )
    if choice.variant.backend is Backend.CUDA and Licence.CUDA in fleet.accept_licences:
        notes.append(
            "orchestrate_accept_licences accepts the CUDA EULA for the packages of this build"
        )
    return tuple(notes)


def place_builds(
    moving: Sequence[str], builders: Sequence[Host], survey: Survey
) -> tuple[Build, ...]:
    """Place each distinct derivation once, llama packages before the systems that hold them.

    Raises:
        PlanError: no builder fits a derivation.
    """
    users: dict[tuple[DerivationPath, StorePath], list[str]] = {}
    for host in moving:
        evaluation = survey.evaluations[host]
        if evaluation.llama_drv is not None and evaluation.llama is not None:
            users.setdefault((evaluation.llama_drv, evaluation.llama), []).append(host)
    assigned: dict[str, list[float]] = {}
    llamas = []
    for package, names in users.items():
        llama, seconds = _place_llama(package, names, builders, survey, assigned)
        assigned.setdefault(llama.builder, []).append(seconds)
        llamas.append(llama)
    toplevels = (toplevel for llama in llamas for toplevel in _place_toplevels(llama, survey))
    return (*llamas, *toplevels)


def _place_llama(
    package: tuple[DerivationPath, StorePath],
    hosts: Sequence[str],
    builders: Sequence[Host],
    survey: Survey,
    assigned: Mapping[str, Sequence[float]],
) -> tuple[Build, float]:
    """Place one package; give its build, and the seconds that it may take there."""
    system = survey.facts[hosts[0]].system
    features = survey.choices[hosts[0]].builder_features
    fitting = tuple(
        Candidate(builder, survey.builders[builder.name])
        for builder in builders
        if not missing_for(builder, survey.builders.get(builder.name), system, features)
    )
    if not fitting:
        raise _no_builder(hosts, builders, survey, system, features)
    best, *others = rank(package[0], features, Situation(fitting, survey.ledger, assigned))
    build = Build(
        derivation=package[0],
        output=package[1],
        builder=best.builder,
        fallbacks=tuple(other.builder for other in others),
        features=tuple(sorted(features)),
        hosts=tuple(hosts),
        reason=reason_for(best, others, survey.ledger),
    )
    return build, best.building


def _place_toplevels(llama: Build, survey: Survey) -> tuple[Build, ...]:
    users: dict[DerivationPath, list[str]] = {}
    for host in llama.hosts:
        derivation = survey.evaluations[host].toplevel_drv
        if derivation is not None:
            users.setdefault(derivation, []).append(host)
    return tuple(
        Build(
            derivation=derivation,
            output=survey.evaluations[hosts[0]].toplevel,
            builder=llama.builder,
            fallbacks=llama.fallbacks,
            features=llama.features,
            hosts=tuple(hosts),
            reason=f"where its llama package is built: {llama.builder}",
            after=llama.derivation,
        )
        for derivation, hosts in users.items()
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
    hosts: Sequence[str],
    builders: Sequence[Host],
    survey: Survey,
    system: str,
    features: frozenset[str],
) -> PlanError:
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
        stage="plan",
        last_lines=tuple(reasons) or ("the inventory names no builder",),
        hint="declare the feature in system-features of a builder's nix.conf, or add a builder"
        " with orchestrate_builder",
    )
