"""What a host's variables mean: Ansible's that are understood, and ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inventory.copying import Caches, Compression, Copying, CopyRoute
from inventory.host import (
    Become,
    BecomeMethod,
    Builder,
    Connection,
    FailedUnits,
    HealthCheck,
    Host,
    HostKeyPolicy,
    LlamaSource,
    RebootPolicy,
    Smoke,
)
from inventory.jump import jump_of, user_of
from inventory.source import SECRETS, Vaulted
from inventory.suggestion import did_you_mean
from orchestrator.errors import InventoryError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from inventory.variables import Variables

HOST_VARIABLES = frozenset(
    {
        "orchestrate_become_password_command",
        "orchestrate_become_password_file",
        "orchestrate_builder",
        "orchestrate_connect_timeout",
        "orchestrate_copy_compression",
        "orchestrate_copy_route",
        "orchestrate_deploy",
        "orchestrate_failed_units",
        "orchestrate_force_variant",
        "orchestrate_health_check",
        "orchestrate_health_timeout",
        "orchestrate_host_key",
        "orchestrate_host_key_policy",
        "orchestrate_jump",
        "orchestrate_known_hosts",
        "orchestrate_llama_source",
        "orchestrate_llama_variant",
        "orchestrate_llama_web_ui",
        "orchestrate_nixos_name",
        "orchestrate_reboot",
        "orchestrate_reboot_as_last_resort",
        "orchestrate_reboot_timeout",
        "orchestrate_smoke_expect",
        "orchestrate_smoke_min_tokens_per_second",
        "orchestrate_smoke_model",
        "orchestrate_smoke_prompt",
        "orchestrate_smoke_timeout",
        "orchestrate_smoke_tokens",
        "orchestrate_substituters",
        "orchestrate_trusted_public_keys",
    }
)
"""Our variables that a host or any of its groups can set."""

_SSH = frozenset({"ssh", "smart", "paramiko", "paramiko_ssh"})
_BUILDER_KEYS = ("systems", "features", "max_jobs", "speed_factor", "signing_key")


def host_of(
    variables: Variables, groups: tuple[str, ...], everyone: Mapping[str, Variables]
) -> Host:
    """Interpret one host.

    Raises:
        InventoryError: a variable is unknown, of the wrong type, or refused;
            always with the host's name.
    """
    try:
        _refuse_secrets(variables)
        builder = _builder(variables)
        return Host(
            name=variables.host,
            groups=groups,
            connection=_connection(variables, everyone),
            become=_become(variables),
            nixos_name=variables.text("orchestrate_nixos_name") or variables.host,
            variant_pin=variables.text("orchestrate_llama_variant"),
            force_variant=variables.boolean("orchestrate_force_variant", default=False),
            llama_source=variables.choice(
                "orchestrate_llama_source", LlamaSource, LlamaSource.UPSTREAM
            ),
            web_ui=variables.boolean("orchestrate_llama_web_ui", default=True),
            builder=builder,
            deploy=variables.boolean("orchestrate_deploy", default=builder is None),
            smoke=_smoke(variables),
            caches=Caches(
                variables.texts("orchestrate_substituters"),
                variables.texts("orchestrate_trusted_public_keys"),
            ),
            copying=_copying(variables),
            health=_health(variables),
            reboot_as_last_resort=variables.boolean(
                "orchestrate_reboot_as_last_resort", default=False
            ),
            failed_units=variables.choice(
                "orchestrate_failed_units", FailedUnits, FailedUnits.ROLLBACK
            ),
            reboot=variables.choice("orchestrate_reboot", RebootPolicy, RebootPolicy.NEVER),
            reboot_timeout=variables.number("orchestrate_reboot_timeout", 300.0),
        )
    except InventoryError as error:
        error.host = error.host or variables.host
        raise


def _refuse_secrets(variables: Variables) -> None:
    for name in sorted(SECRETS & variables.values.keys()):
        value = variables.values[name]
        # Encrypted values and look-ups are references; they aren't ours to read.
        if value is None or isinstance(value, Vaulted) or "{{" in str(value):
            continue
        raise InventoryError(
            message=f"{name} holds a password in plain text",
            hint="secrets are references: put the password for sudo into a file that only "
            "you can read and name it in orchestrate_become_password_file, name a command in "
            "orchestrate_become_password_command, or type it for --ask-become-pass; ssh uses keys",
        )


def _connection(variables: Variables, everyone: Mapping[str, Variables]) -> Connection:
    kind = (variables.text("ansible_connection") or "ssh").removeprefix("ansible.builtin.")
    if kind not in _SSH:
        raise InventoryError(
            message=f"ansible_connection is {kind!r}, and every host is reached by ssh",
            hint="for this machine itself, set ansible_host: localhost and run sshd",
        )
    return Connection(
        address=variables.text("ansible_host") or variables.host,
        port=variables.integer("ansible_port", 22),
        user=user_of(variables),
        identity_file=variables.path("ansible_ssh_private_key_file"),
        jump=jump_of(variables, everyone),
        host_key_policy=variables.choice(
            "orchestrate_host_key_policy", HostKeyPolicy, HostKeyPolicy.PINNED
        ),
        known_hosts_file=variables.path("orchestrate_known_hosts"),
        host_key=variables.text("orchestrate_host_key"),
        connect_timeout=variables.number("orchestrate_connect_timeout", 5.0),
    )


def _become(variables: Variables) -> Become:
    """Read the become variables.

    Ansible leaves `become` off unless somebody says so, often the playbook. There
    is no playbook here and activation needs root, so that a login that isn't root
    becomes it unless `ansible_become: false` says otherwise.
    """
    user = variables.text("ansible_become_user") or "root"
    name = "ansible_become_method"
    method = (variables.text(name) or "sudo").rpartition(".")[2]
    if method not in {BecomeMethod.SUDO, BecomeMethod.DOAS}:
        expected = f"{BecomeMethod.SUDO} or {BecomeMethod.DOAS}"
        raise variables.wrong(name, repr(method), expected)
    wanted = variables.boolean("ansible_become", default=True) and user != user_of(variables)
    return Become(
        method=BecomeMethod(method) if wanted else BecomeMethod.NONE,
        user=user,
        password_file=variables.path("orchestrate_become_password_file"),
        password_command=_password_command(variables),
    )


def _password_command(variables: Variables) -> tuple[str, ...]:
    """Read the command; a shell's line would be one long name of a program."""
    name = "orchestrate_become_password_command"
    expected = "a list of arguments, such as [pass, show, sudo]"
    value = variables.raw(name, expected)
    if value is None or value is False:
        return ()
    if isinstance(value, str):
        raise variables.wrong(name, repr(value), expected)
    if variables.raw("orchestrate_become_password_file", "a file") is not None:
        raise InventoryError(
            message=f"{name} and orchestrate_become_password_file are both set",
            hint="keep one of the two; null unsets what a group sets",
        )
    return variables.texts(name)


def _builder(variables: Variables) -> Builder | None:
    prefix = "orchestrate_builder"
    found = variables.below(prefix)
    if found is None:
        return None
    for key in found.values:
        short = key.removeprefix(f"{prefix}.")
        if short not in _BUILDER_KEYS:
            raise InventoryError(
                message=f"{prefix} has the unknown key {short!r}",
                hint=did_you_mean(short, _BUILDER_KEYS),
            )
    needed = f"{prefix}.systems"
    systems = found.texts(needed)
    if not systems:
        expected = "the systems it builds for, such as [x86_64-linux]"
        raise variables.wrong(needed, "missing", expected)
    return Builder(
        systems=systems,
        features=found.texts(f"{prefix}.features"),
        max_jobs=found.integer(f"{prefix}.max_jobs", 1),
        speed_factor=found.number(f"{prefix}.speed_factor", 1.0),
        signing_key=found.text(f"{prefix}.signing_key"),
    )


def _smoke(variables: Variables) -> Smoke:
    prompt = variables.text("orchestrate_smoke_prompt")
    return Smoke(
        model=variables.path("orchestrate_smoke_model"),
        prompt=Smoke().prompt if prompt is None else prompt,
        expect=variables.text("orchestrate_smoke_expect"),
        tokens=variables.integer("orchestrate_smoke_tokens", 16),
        timeout=variables.number("orchestrate_smoke_timeout", 120.0),
        min_tokens_per_second=variables.optional_number("orchestrate_smoke_min_tokens_per_second"),
    )


def _copying(variables: Variables) -> Copying:
    return Copying(
        route=variables.choice("orchestrate_copy_route", CopyRoute, CopyRoute.AUTO),
        compression=variables.choice("orchestrate_copy_compression", Compression, Compression.AUTO),
    )


def _health(variables: Variables) -> HealthCheck | None:
    """Read the user's check: an argument vector, or a line for the target's sh."""
    name = "orchestrate_health_check"
    expected = "a command: a list of arguments, or a line for sh"
    value = variables.raw(name, expected)
    if value is None or value is False:
        return None
    argv = ("sh", "-c", value) if isinstance(value, str) else variables.texts(name)
    if not argv or not argv[-1]:
        raise variables.wrong(name, repr(value), expected)
    return HealthCheck(argv, variables.number("orchestrate_health_timeout", 60.0))
