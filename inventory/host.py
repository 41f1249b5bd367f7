"""The fleet as frozen types: hosts, how they are reached, what each is for.

Made by `inventory.read`; every type survives a round trip through JSON with
msgspec, which is how they travel to workers. A value that exists is safe to use
in a command line: the rules of `inventory.names` are applied when it is made.
A field that one variable fills is defined together with that variable.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from inventory.copying import Caches, Copying, CopyLimits, check_signing_key
from inventory.definition import Definition, Scope, Subject, filled_by, setting
from inventory.kinds import (
    Arguments,
    Boolean,
    Choice,
    Choices,
    FilePath,
    FlakeReference,
    Integer,
    Keys,
    Number,
    ShellCommand,
    Text,
    Texts,
)
from inventory.names import (
    LAST_PORT,
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
    """The program that grants privilege on the target, Ansible's become method."""

    NONE = "none"
    SUDO = "sudo"
    DOAS = "doas"
    RUN0 = "run0"


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
    """Whether a host reboots once its new system is its boot default, if that needs it."""

    NEVER = "never"
    ASK = "ask"
    IF_NEEDED = "if-needed"


class Licence(StrEnum):
    """An unfree licence that the user can accept for the whole fleet."""

    CUDA = "cuda"


ADDRESS = Definition(
    "ansible_host",
    Text(),
    Subject.CONNECTION,
    "Host name or IP address of the host",
    default=None,
    otherwise="the host's name in the inventory",
)
PORT = Definition(
    "ansible_port",
    Integer(most=LAST_PORT),
    Subject.CONNECTION,
    "TCP port of its sshd",
    default=22,
)
USER = Definition(
    "ansible_user",
    Text(),
    Subject.CONNECTION,
    "Login name",
    default="root",
)
OLD_USER = Definition(
    "ansible_ssh_user",
    Text(),
    Subject.CONNECTION,
    "Login name, by Ansible's old name for it; `ansible_user` wins",
    default=USER.default,
)
IDENTITY_FILE = Definition(
    "ansible_ssh_private_key_file",
    FilePath(),
    Subject.CONNECTION,
    "Private key to log in with",
    default=None,
    otherwise="the ssh agent, then ssh's own defaults",
)
CONNECTION_PLUGIN = Definition(
    "ansible_connection",
    Text(),
    Subject.CONNECTION,
    "How Ansible reaches the host: `ssh`, `smart` or `paramiko`, all of which are ssh here;"
    " anything else is refused",
    default="ssh",
)
JUMP = Definition(
    "orchestrate_jump",
    Text(),
    Subject.CONNECTION,
    "Host to connect through: a host of the inventory or user@address:port; `none` for no host",
    default=None,
    otherwise="the jump host in `ansible_ssh_common_args`",
)
BECOME = Definition(
    "ansible_become",
    Boolean(),
    Subject.PRIVILEGE,
    "Whether to become another user if the login is not that user",
    default=True,
)
BECOME_METHOD = Definition(
    "ansible_become_method",
    Choice((BecomeMethod.SUDO, BecomeMethod.DOAS, BecomeMethod.RUN0), namespaced=True),
    Subject.PRIVILEGE,
    "Program that grants privilege",
    default=BecomeMethod.SUDO,
)


@dataclass(frozen=True, slots=True)
class Become:
    """How the login user gains privilege; the password itself is never in here.

    Args:
        method: the program that does it, if one is needed.
        user: whom to become.
        password_file: where the worker reads the password.
        password_command: what the worker runs to get it, on its own host.

    Raises:
        InventoryError: the user or the file name is unsafe.
    """

    method: BecomeMethod = BecomeMethod.NONE
    user: str = setting(
        "ansible_become_user",
        Text(),
        Subject.PRIVILEGE,
        "User to become; a deployment needs root",
        default="root",
    )
    password_file: str | None = setting(
        "orchestrate_become_password_file",
        FilePath(),
        Subject.PRIVILEGE,
        "File that holds the password for `sudo`, read where the worker runs",
        default=None,
    )
    password_command: tuple[str, ...] = setting(
        "orchestrate_become_password_command",
        Arguments(),
        Subject.PRIVILEGE,
        "Command that prints that password in its first line, run where the worker runs;"
        " not together with `orchestrate_become_password_file`",
        default=(),
    )

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
    """The host that a connection goes through, ssh's ProxyJump.

    Raises:
        InventoryError: a part is unsafe in a command line.
    """

    address: str
    port: int = filled_by(PORT)
    user: str = filled_by(USER)
    identity_file: str | None = filled_by(IDENTITY_FILE)

    def __post_init__(self) -> None:
        """Apply `inventory.names`."""
        check_address(self.address, "jump host")
        check_port(self.port, "port of the jump host")
        check_user(self.user, "user of the jump host")
        check_path(self.identity_file, "identity file of the jump host")


@dataclass(frozen=True, slots=True)
class Connection:
    """Everything needed to reach a host by ssh, for every client alike.

    Raises:
        InventoryError: a part is unsafe in a command line.
    """

    address: str = field(metadata=ADDRESS.metadata)
    port: int = filled_by(PORT)
    user: str = filled_by(USER)
    identity_file: str | None = filled_by(IDENTITY_FILE)
    jump: JumpHost | None = field(default=None, metadata=JUMP.metadata)
    host_key_policy: HostKeyPolicy = setting(
        "orchestrate_host_key_policy",
        Choice(tuple(HostKeyPolicy)),
        Subject.CONNECTION,
        "Whether an unknown host key is refused or recorded at the first connection",
        default=HostKeyPolicy.PINNED,
    )
    known_hosts_file: str | None = setting(
        "orchestrate_known_hosts",
        FilePath(),
        Subject.CONNECTION,
        "The known_hosts file that host keys are checked against",
        default=None,
        otherwise="~/.ssh/known_hosts",
    )
    host_key: str | None = setting(
        "orchestrate_host_key",
        Text("public key line"),
        Subject.CONNECTION,
        "The key that its sshd must show, as in /etc/ssh/ssh_host_ed25519_key.pub",
        default=None,
        otherwise="the one in the known_hosts file",
    )
    connect_timeout: float = setting(
        "orchestrate_connect_timeout",
        Number("s"),
        Subject.CONNECTION,
        "Seconds without an answer after which the host counts as unreachable",
        default=5.0,
    )

    def __post_init__(self) -> None:
        """Apply `inventory.names`."""
        check_address(self.address)
        check_port(self.port)
        check_user(self.user)
        check_path(self.identity_file, "identity file")
        check_path(self.known_hosts_file, "known_hosts file")
        check_public_key(self.host_key)


BUILDER = Definition(
    "orchestrate_builder",
    Keys(),
    Subject.BUILDERS,
    "What the host builds for the others, if anything; its keys follow",
    default=None,
    otherwise="builds nothing",
)
BUILDER_SYSTEMS = Definition(
    "orchestrate_builder.systems",
    Texts(),
    Subject.BUILDERS,
    "Systems that it builds for, such as x86_64-linux",
    default=(),
    required=True,
)


@dataclass(frozen=True, slots=True)
class Builder:
    """What a host can build, in the words of Nix's `builders` setting.

    Raises:
        InventoryError: a system or feature is unsafe in a command line.
    """

    systems: tuple[str, ...] = field(metadata=BUILDER_SYSTEMS.metadata)
    features: tuple[str, ...] = setting(
        "orchestrate_builder.features",
        Texts(),
        Subject.BUILDERS,
        "Its system features, such as big-parallel, kvm or cuda",
        default=(),
    )
    max_jobs: int = setting(
        "orchestrate_builder.max_jobs",
        Integer(),
        Subject.BUILDERS,
        "Derivations that it builds at the same time",
        default=1,
    )
    speed_factor: float = setting(
        "orchestrate_builder.speed_factor",
        Number(),
        Subject.BUILDERS,
        "Preference among builders that can build the same; the higher the more",
        default=1.0,
    )
    signing_key: str | None = setting(
        "orchestrate_builder.signing_key",
        Text("public key, NAME:BASE64"),
        Subject.BUILDERS,
        "Public key that its builds must be signed with",
        default=None,
        otherwise="the key that it makes for itself",
    )

    def __post_init__(self) -> None:
        """Apply `inventory.names`."""
        check_signing_key(self.signing_key, "signing key")
        for system in self.systems:
            check_name(system, "builder system")
        for feature in self.features:
            check_name(feature, "builder feature")


@dataclass(frozen=True, slots=True)
class Smoke:
    """The inference that decides whether a new system stays."""

    model: str | None = setting(
        "orchestrate_smoke_model",
        FilePath(),
        Subject.SMOKE_TEST,
        "GGUF file on the controller that the smoke test loads",
        default=None,
        otherwise="the tiny model that orchestrate brings",
    )
    prompt: str = setting(
        "orchestrate_smoke_prompt",
        Text(),
        Subject.SMOKE_TEST,
        "Text that the model continues",
        default="The capital of France is",
    )
    expect: str | None = setting(
        "orchestrate_smoke_expect",
        Text(),
        Subject.SMOKE_TEST,
        "Text that the answer must contain",
        default=None,
        otherwise="any answer will do",
    )
    tokens: int = setting(
        "orchestrate_smoke_tokens",
        Integer("tokens"),
        Subject.SMOKE_TEST,
        "How many tokens the model generates",
        default=16,
    )
    timeout: float = setting(
        "orchestrate_smoke_timeout",
        Number("s"),
        Subject.SMOKE_TEST,
        "Seconds that the smoke test may take",
        default=120.0,
    )
    min_tokens_per_second: float | None = setting(
        "orchestrate_smoke_min_tokens_per_second",
        Number("tokens/s"),
        Subject.SMOKE_TEST,
        "Speed below which the smoke test fails",
        default=None,
        otherwise="any speed will do",
    )

    def __post_init__(self) -> None:
        """Apply `inventory.names`."""
        check_path(self.model, "smoke test model")


HEALTH_CHECK = Definition(
    "orchestrate_health_check",
    ShellCommand(),
    Subject.SMOKE_TEST,
    "Command of your own that is run on the host as root after the smoke test;"
    " if it fails, so does the new system",
    default=None,
)


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """The user's own command that decides, besides the smoke test, whether a system stays.

    It runs on the target as root, without a shell of ours around it.
    """

    argv: tuple[str, ...] = field(metadata=HEALTH_CHECK.metadata)
    timeout: float = setting(
        "orchestrate_health_timeout",
        Number("s"),
        Subject.SMOKE_TEST,
        "Seconds that the health check may take",
        default=60.0,
    )


NIXOS_NAME = Definition(
    "orchestrate_nixos_name",
    Text(),
    Subject.PACKAGE,
    "The host's name under `nixosConfigurations`",
    default=None,
    otherwise="its name in the inventory",
)
DEPLOY = Definition(
    "orchestrate_deploy",
    Boolean(),
    Subject.BUILDERS,
    "Whether the host is a target of deployments",
    default=True,
    otherwise="true, and false for a builder",
)


@dataclass(frozen=True, slots=True)
class Host:
    """One host.

    Args:
        name: its name in the inventory.
        groups: every group it is in, directly or through a child group,
            alphabetical, without `all` and `ungrouped`.
        connection: how it is reached.
        become: how privilege is gained there.
        builder: what it builds; None if it builds nothing.
        smoke: the inference that decides.
        caches: binary caches that it takes paths from.
        copying: how closures come to it.
        health: the user's own check; None if there is none.

    Raises:
        InventoryError: a name or the variant is unsafe in a command line.
    """

    name: str
    connection: Connection
    nixos_name: str = field(metadata=NIXOS_NAME.metadata)
    groups: tuple[str, ...] = ()
    become: Become = Become()
    variant_pin: str | None = setting(
        "orchestrate_llama_variant",
        Text(),
        Subject.PACKAGE,
        "Variant of llama.cpp that the host gets whatever its hardware could do",
        default=None,
        otherwise="chosen from the hardware",
    )
    force_variant: bool = setting(
        "orchestrate_force_variant",
        Boolean(),
        Subject.PACKAGE,
        "Whether `orchestrate_llama_variant` also wins if the hardware contradicts it",
        default=False,
    )
    llama_source: LlamaSource = setting(
        "orchestrate_llama_source",
        Choice(tuple(LlamaSource)),
        Subject.PACKAGE,
        "Whose package of llama.cpp is built: that of `orchestrate_llama_cpp`,"
        " or pkgs.llama-cpp of your flake",
        default=LlamaSource.UPSTREAM,
    )
    web_ui: bool = setting(
        "orchestrate_llama_web_ui",
        Boolean(),
        Subject.PACKAGE,
        "Whether llama-server has its web interface, which upstream's package builds with npm",
        default=True,
    )
    deploy: bool = filled_by(DEPLOY)
    builder: Builder | None = field(default=None, metadata=BUILDER.metadata)
    smoke: Smoke = Smoke()
    caches: Caches = field(default_factory=Caches)
    copying: Copying = field(default_factory=Copying)
    health: HealthCheck | None = None
    reboot_as_last_resort: bool = setting(
        "orchestrate_reboot_as_last_resort",
        Boolean(),
        Subject.REBOOT,
        "Whether a host on which an automatic rollback can't activate the old system reboots"
        " into its boot default",
        default=False,
    )
    failed_units: FailedUnits = setting(
        "orchestrate_failed_units",
        Choice(tuple(FailedUnits)),
        Subject.ACTIVATION,
        "What becomes of a new system that runs while some of its units failed:"
        " it is rolled back, or accepted if the smoke test passes",
        default=FailedUnits.ROLLBACK,
    )
    reboot: RebootPolicy = setting(
        "orchestrate_reboot",
        Choice(tuple(RebootPolicy)),
        Subject.REBOOT,
        "Whether a confirmed host reboots if a new kernel, initrd or driver needs it; `ask` asks"
        " on a terminal before the run begins",
        default=RebootPolicy.NEVER,
    )
    reboot_timeout: float = setting(
        "orchestrate_reboot_timeout",
        Number("s"),
        Subject.REBOOT,
        "Seconds within which a host has to be back from its reboot, with the new system",
        default=300.0,
    )

    def __post_init__(self) -> None:
        """Apply `inventory.names`."""
        check_address(self.name, "host name")
        if self.nixos_name != self.name:
            check_name(self.nixos_name, "NixOS name")
        if self.variant_pin is not None:
            check_name(self.variant_pin, "variant")


@dataclass(frozen=True, slots=True)
class Fleet:
    """What holds for the whole fleet, from the vars of the group `all`."""

    flake: str | None = setting(
        "orchestrate_flake",
        FlakeReference(),
        Subject.PACKAGE,
        "The flake with your `nixosConfigurations`",
        default=None,
        scope=Scope.FLEET,
        otherwise="must be set to deploy",
    )
    llama_cpp: str = setting(
        "orchestrate_llama_cpp",
        FlakeReference(),
        Subject.PACKAGE,
        "The source of llama.cpp",
        default="github:ggml-org/llama.cpp",
        scope=Scope.FLEET,
    )
    rollout: Rollout = field(default_factory=Rollout)
    confirm_timeout: float = setting(
        "orchestrate_confirm_timeout",
        Number("s"),
        Subject.ACTIVATION,
        "Seconds from the activation to the confirmation, after which a host rolls itself back",
        default=180.0,
        scope=Scope.FLEET,
    )
    way_back_timeout: float = setting(
        "orchestrate_way_back_timeout",
        Number("s"),
        Subject.ACTIVATION,
        "Seconds that activating the old system may take during an automatic rollback",
        default=120.0,
        scope=Scope.FLEET,
    )
    evaluation_memory_mib: int | None = setting(
        "orchestrate_evaluation_memory_mib",
        Integer("MiB"),
        Subject.EVALUATION,
        "Memory that one evaluator may use",
        default=None,
        scope=Scope.FLEET,
        otherwise="measured",
    )
    evaluate_on: str | None = setting(
        "orchestrate_evaluate_on",
        Text("controller or a builder's name"),
        Subject.EVALUATION,
        "Host that evaluates the flake",
        default=None,
        scope=Scope.FLEET,
        otherwise="the controller if it has Nix, otherwise a builder",
    )
    gpu_targets: TargetScope = setting(
        "orchestrate_gpu_targets",
        Choice(tuple(TargetScope)),
        Subject.PACKAGE,
        "Which GPUs a CUDA or ROCm build compiles for: those of all hosts that share it, so that"
        " it is built once, or each host's own",
        default=TargetScope.PER_FLEET,
        scope=Scope.FLEET,
    )
    accept_licences: tuple[Licence, ...] = setting(
        "orchestrate_accept_licences",
        Choices(tuple(Licence)),
        Subject.PACKAGE,
        "Unfree licences that you accept for the packages of these builds, and nothing else",
        default=(),
        scope=Scope.FLEET,
        otherwise="your own `nixpkgs.config` decides",
    )
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
        """Return the host of that name.

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
