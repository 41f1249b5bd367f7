"""The fleet as frozen types: hosts, how they are reached, what each is for.

Made by `inventory.read`; every type survives a round trip through JSON with
msgspec, which is how they travel to workers. A value that exists is safe to use
in a command line: the rules of `inventory.names` are applied when it is made.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from inventory.copying import Caches, Copying, CopyLimits, check_signing_key
from inventory.names import (
    check_address,
    check_name,
    check_path,
    check_port,
    check_public_key,
    check_user,
)
from inventory.rollout import Rollout
from inventory.suggestion import did_you_mean
from orchestrator.errors import InventoryError


class HostKeyPolicy(StrEnum):
    """What is done with a host key that isn't known. There is no "ignore"."""

    PINNED = "pinned"
    ACCEPT_NEW = "accept-new"


class BecomeMethod(StrEnum):
    """The program that gives privilege on the target, Ansible's become method."""

    NONE = "none"
    SUDO = "sudo"
    DOAS = "doas"


class LlamaSource(StrEnum):
    """Whose package of llama.cpp is built: upstream's own tree, or the user's nixpkgs."""

    UPSTREAM = "upstream"
    NIXPKGS = "nixpkgs"


class TargetScope(StrEnum):
    """For whose GPUs a build compiles: those of all hosts that share it, or one host's."""

    PER_FLEET = "per-fleet"
    PER_HOST = "per-host"


class FailedUnits(StrEnum):
    """What becomes of a new system that runs while some of its units failed."""

    ROLLBACK = "rollback"
    ACCEPT = "accept"


class RebootPolicy(StrEnum):
    """Whether a host reboots once its new system is its boot default, where that needs it."""

    NEVER = "never"
    ASK = "ask"
    IF_NEEDED = "if-needed"


class Licence(StrEnum):
    """An unfree licence that the user can accept for the whole fleet."""

    CUDA = "cuda"


@dataclass(frozen=True, slots=True)
class Become:
    """How the login user gains privilege.

    Args:
        method: the program that does it.
        user: whom to become.
        password_file: where the worker reads the password; never the password.
        password_command: what the worker runs to get it, on its own machine.

    Raises:
        InventoryError: the user or the file name is unsafe.
    """

    method: BecomeMethod = BecomeMethod.NONE
    user: str = "root"
    password_file: str | None = None
    password_command: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Apply `inventory.names`."""
        check_user(self.user, "become user")
        check_path(self.password_file, "become password file")

    @property
    def needed(self) -> bool:
        """Whether privileged commands need a program in front of them."""
        return self.method is not BecomeMethod.NONE


@dataclass(frozen=True, slots=True)
class JumpHost:
    """The machine that a connection goes through, ssh's ProxyJump.

    Raises:
        InventoryError: a part is unsafe in a command line.
    """

    address: str
    port: int = 22
    user: str = "root"
    identity_file: str | None = None

    def __post_init__(self) -> None:
        """Apply `inventory.names`."""
        check_address(self.address, "jump host")
        check_port(self.port, "port of the jump host")
        check_user(self.user, "user of the jump host")
        check_path(self.identity_file, "identity file of the jump host")


@dataclass(frozen=True, slots=True)
class Connection:
    """Everything needed to reach a host by ssh, for every client alike.

    Args:
        address: host name or IP address.
        port: TCP port of sshd.
        user: login name.
        identity_file: private key; None for the agent and ssh's defaults.
        jump: the machine to go through.
        host_key_policy: what is done with an unknown host key.
        known_hosts_file: None for the project's own file.
        host_key: public key line pinned in the inventory.
        connect_timeout: seconds until the host counts as unreachable.

    Raises:
        InventoryError: a part is unsafe in a command line.
    """

    address: str
    port: int = 22
    user: str = "root"
    identity_file: str | None = None
    jump: JumpHost | None = None
    host_key_policy: HostKeyPolicy = HostKeyPolicy.PINNED
    known_hosts_file: str | None = None
    host_key: str | None = None
    connect_timeout: float = 5.0

    def __post_init__(self) -> None:
        """Apply `inventory.names`."""
        check_address(self.address)
        check_port(self.port)
        check_user(self.user)
        check_path(self.identity_file, "identity file")
        check_path(self.known_hosts_file, "known_hosts file")
        check_public_key(self.host_key)


@dataclass(frozen=True, slots=True)
class Builder:
    """What a host can build, in the words of Nix's `builders` setting.

    Args:
        systems: such as x86_64-linux.
        features: system features such as big-parallel, kvm, cuda.
        max_jobs: derivations built at the same time.
        speed_factor: preference among builders that can do the same.
        signing_key: the public key that its builds must be signed with; None to
            take the one that it makes for itself.

    Raises:
        InventoryError: a system or feature is unsafe in a command line.
    """

    systems: tuple[str, ...]
    features: tuple[str, ...] = ()
    max_jobs: int = 1
    speed_factor: float = 1.0
    signing_key: str | None = None

    def __post_init__(self) -> None:
        """Apply `inventory.names`."""
        check_signing_key(self.signing_key, "signing key")
        for system in self.systems:
            check_name(system, "builder system")
        for feature in self.features:
            check_name(feature, "builder feature")


@dataclass(frozen=True, slots=True)
class Smoke:
    """The inference that decides whether a new system stays.

    Args:
        model: absolute path of a GGUF file on the controller; None for the
            model that the smoke stage brings along.
        prompt: what the model is asked to continue.
        expect: text that the answer must contain; None to accept any.
        tokens: how many to generate.
        timeout: seconds for the whole inference.
        min_tokens_per_second: slower than this is a failure; None for no limit.
    """

    model: str | None = None
    prompt: str = "The capital of France is"
    expect: str | None = None
    tokens: int = 16
    timeout: float = 120.0
    min_tokens_per_second: float | None = None

    def __post_init__(self) -> None:
        """Apply `inventory.names`."""
        check_path(self.model, "smoke model")


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """The user's own command that decides, besides the smoke, whether a system stays.

    Args:
        argv: run on the target as root, without a shell of ours around it.
        timeout: seconds until it counts as failed.
    """

    argv: tuple[str, ...]
    timeout: float = 60.0


@dataclass(frozen=True, slots=True)
class Host:
    """One machine.

    Args:
        name: its name in the inventory.
        groups: every group it is in, directly or through a child group,
            alphabetical, without `all` and `ungrouped`.
        connection: how it is reached.
        become: how privilege is gained there.
        nixos_name: its attribute under the flake's nixosConfigurations.
        variant_pin: the llama.cpp variant the user wants; None to choose one.
        force_variant: whether the pin also wins over contradicting facts.
        llama_source: whose package of llama.cpp it gets.
        web_ui: whether llama-server brings its web interface along.
        builder: what it builds; None where it builds nothing.
        deploy: whether it is a target of deployments.
        smoke: the inference that decides.
        caches: binary caches that it takes paths from.
        copying: how closures come to it.
        health: the user's own check; None where there is none.
        reboot_as_last_resort: whether it reboots into its boot default where its
            old system can't be activated.
        failed_units: what becomes of a system whose activation leaves failed units.
        reboot: whether it reboots where kernel, initrd or drivers have changed.
        reboot_timeout: seconds until it has to be back then.

    Raises:
        InventoryError: a name or the variant is unsafe in a command line.
    """

    name: str
    connection: Connection
    nixos_name: str
    groups: tuple[str, ...] = ()
    become: Become = Become()
    variant_pin: str | None = None
    force_variant: bool = False
    llama_source: LlamaSource = LlamaSource.UPSTREAM
    web_ui: bool = True
    builder: Builder | None = None
    deploy: bool = True
    smoke: Smoke = Smoke()
    caches: Caches = field(default_factory=Caches)
    copying: Copying = field(default_factory=Copying)
    health: HealthCheck | None = None
    reboot_as_last_resort: bool = False
    failed_units: FailedUnits = FailedUnits.ROLLBACK
    reboot: RebootPolicy = RebootPolicy.NEVER
    reboot_timeout: float = 300.0

    def __post_init__(self) -> None:
        """Apply `inventory.names`."""
        check_address(self.name, "host name")
        if self.nixos_name != self.name:
            check_name(self.nixos_name, "NixOS name")
        if self.variant_pin is not None:
            check_name(self.variant_pin, "variant")


@dataclass(frozen=True, slots=True)
class Fleet:
    """What holds for the whole fleet, from the vars of the group `all`.

    Args:
        flake: flake reference or absolute path of the user's configuration.
        llama_cpp: flake reference or absolute path of llama.cpp.
        rollout: batches, canaries, limits and order of a rollout.
        confirm_timeout: seconds until a target that nobody confirmed goes back.
        way_back_timeout: seconds that the old system's activation may take then.
        evaluation_memory_mib: budget of one evaluator; None to measure.
        evaluate_on: "controller" or the name of a builder; None to choose.
        gpu_targets: whether hosts of one variant share one build for all their GPUs.
        accept_licences: the unfree licences that the user accepts.
        copies: what copies may take together.
    """

    flake: str | None = None
    llama_cpp: str = "github:ggml-org/llama.cpp"
    rollout: Rollout = field(default_factory=Rollout)
    confirm_timeout: float = 180.0
    way_back_timeout: float = 120.0
    evaluation_memory_mib: int | None = None
    evaluate_on: str | None = None
    gpu_targets: TargetScope = TargetScope.PER_FLEET
    accept_licences: tuple[Licence, ...] = ()
    copies: CopyLimits = field(default_factory=CopyLimits)


@dataclass(frozen=True, slots=True)
class Inventory:
    """All hosts and groups, in the order of the file.

    Args:
        path: the file or directory it was read from.
        hosts: in the order they appear first.
        groups: names of all hosts of a group and of its children, with `all`
            and `ungrouped`.
        fleet: what holds for all of them.
    """

    path: str
    hosts: tuple[Host, ...]
    groups: dict[str, tuple[str, ...]]
    fleet: Fleet = Fleet()

    def host(self, name: str) -> Host:
        """Give the host of that name.

        Raises:
            InventoryError: there is none.
        """
        for host in self.hosts:
            if host.name == name:
                return host
        raise InventoryError(
            message=f"no host {name!r} in {self.path}",
            hint=did_you_mean(name, (host.name for host in self.hosts)),
        )

    @property
    def builders(self) -> tuple[Host, ...]:
        """The hosts that build."""
        return tuple(host for host in self.hosts if host.builder is not None)

    @property
    def targets(self) -> tuple[Host, ...]:
        """The hosts that are deployed to."""
        return tuple(host for host in self.hosts if host.deploy)
