"""Plans for tests: hosts by name and batch, each with a system and a llama package."""

from __future__ import annotations

from dataclasses import dataclass

from inventory.host import Connection, Host
from orchestrator.model.facts import Facts
from orchestrator.model.plan import Action, Build, Evaluation, Goal, HostPlan, Plan
from orchestrator.model.store import DerivationPath, StorePath
from orchestrator.model.variant import Variant, VariantChoice

_HASH = "0" * 32


@dataclass(frozen=True, slots=True)
class Wanted:
    """A host of a plan; hosts with the same `llama` share that package's build."""

    name: str
    batch: int = 0
    llama: str = "shared"
    variant: Variant = Variant.CPU
    canary: bool = False
    groups: tuple[str, ...] = ()
    action: Action = Action.DEPLOY


def output(name: str) -> StorePath:
    """Give the store path of an output."""
    return StorePath(f"/nix/store/{_HASH}-{name}")


def derivation(name: str) -> DerivationPath:
    """Give the store path of a derivation."""
    return DerivationPath(f"/nix/store/{_HASH}-{name}.drv")


def facts(name: str) -> Facts:
    """Give the facts of a machine that nothing is special about."""
    return Facts(
        host=name,
        system="x86_64-linux",
        kernel="6.12.0",
        boot_id="b",
        nix_version="2.31.2",
        nixos_version="25.11",
        running_system=output(f"old-{name}"),
        booted_system=output(f"old-{name}"),
        boot_default=output(f"old-{name}"),
        cpu_model="CPU",
        cpu_flags=(),
        cpu_count=2,
        memory_mib=2048,
        memory_available_mib=1024,
        store_free_mib=4096,
        virtualization="none",
        pci_displays=(),
        nvidia_gpus=(),
        kfd_gfx_targets=(),
        vulkan_devices=(),
        system_features=(),
        has_systemd_run=True,
        nixos_rebuild=None,
        has_system_shell=True,
        llama_cli="",
        model_files=(),
        load_average=0.0,
    )


def host_plan(wanted: Wanted) -> HostPlan:
    """Give one host's part of a plan."""
    return HostPlan(
        target=Host(
            wanted.name,
            Connection(wanted.name),
            nixos_name=wanted.name,
            groups=wanted.groups,
        ),
        facts=facts(wanted.name),
        choice=VariantChoice(wanted.name, wanted.variant, "no GPU → cpu"),
        evaluation=Evaluation(
            host=wanted.name,
            toplevel_drv=derivation(f"system-{wanted.name}"),
            toplevel=output(f"system-{wanted.name}"),
            llama_drv=derivation(f"llama-{wanted.llama}"),
            llama=output(f"llama-{wanted.llama}"),
        ),
        action=wanted.action,
        batch=wanted.batch,
        canary=wanted.canary,
    )


def make_plan(*hosts: Wanted, run: str = "run-1", goal: Goal = Goal.SWITCH) -> Plan:
    """Give a plan of these hosts, with the builds that its moving hosts need."""
    moving = [host for host in hosts if host.action is Action.DEPLOY]
    llamas = dict.fromkeys(host.llama for host in moving)
    builds = [
        _build(f"llama-{llama}", tuple(host.name for host in moving if host.llama == llama))
        for llama in llamas
    ]
    builds += [
        _build(f"system-{host.name}", (host.name,), derivation(f"llama-{host.llama}"))
        for host in moving
    ]
    return Plan(
        run=run,
        hosts=tuple(host_plan(host) for host in hosts),
        builders=(Host("builder", Connection("builder"), nixos_name="builder"),),
        builds=tuple(builds),
        unreachable={},
        blocked={},
        failed={},
        confirm_timeout=180.0,
        way_back_timeout=120.0,
        goal=goal,
    )


def _build(name: str, hosts: tuple[str, ...], after: DerivationPath | None = None) -> Build:
    return Build(
        derivation=derivation(name),
        output=output(name),
        builder="builder",
        fallbacks=(),
        features=(),
        hosts=hosts,
        reason="the only builder",
        depends_on=after,
    )
