"""What a host's variables mean: Ansible's that are understood, and ours."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from inventory.copying import Caches, Copying
from inventory.definition import definitions_of, fill
from inventory.host import (
    ADDRESS,
    BECOME,
    BECOME_METHOD,
    BUILDER,
    BUILDER_SYSTEMS,
    CONNECTION_PLUGIN,
    DEPLOY,
    HEALTH_CHECK,
    NIXOS_NAME,
    Become,
    BecomeMethod,
    Builder,
    Connection,
    HealthCheck,
    Host,
    Smoke,
)
from inventory.jump import jump_of, user_of
from inventory.source import SECRETS, Vaulted
from inventory.suggestion import did_you_mean
from orchestrator.errors import InventoryError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from inventory.variables import Variables

_SSH = frozenset({"ssh", "smart", "paramiko", "paramiko_ssh"})
_BUILDER_KEYS = tuple(definition.key for definition in definitions_of(Builder))


def host_of(
    variables: Variables, groups: tuple[str, ...], all_variables: Mapping[str, Variables]
) -> Host:
    """Interpret one host.

    Raises:
        InventoryError: a variable is unknown, of the wrong type, or refused;
            always with the host's name.
    """
    try:
        _refuse_secrets(variables)
        builder = _builder(variables)
        return fill(
            Host,
            variables,
            name=variables.host,
            groups=groups,
            connection=_connection(variables, all_variables),
            become=_become(variables),
            nixos_name=NIXOS_NAME.read(variables) or variables.host,
            builder=builder,
            deploy=replace(DEPLOY, default=builder is None).read(variables),
            smoke=fill(Smoke, variables),
            caches=fill(Caches, variables),
            copying=fill(Copying, variables),
            health=_health(variables),
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


def _connection(variables: Variables, all_variables: Mapping[str, Variables]) -> Connection:
    kind = CONNECTION_PLUGIN.read(variables).removeprefix("ansible.builtin.")
    if kind not in _SSH:
        raise InventoryError(
            message=f"{CONNECTION_PLUGIN.name} is {kind!r}, and every host is reached by ssh",
            hint="for the controller itself, set ansible_host: localhost and run sshd",
        )
    return fill(
        Connection,
        variables,
        address=ADDRESS.read(variables) or variables.host,
        user=user_of(variables),
        jump=jump_of(variables, all_variables),
    )


def _become(variables: Variables) -> Become:
    """Read the become variables.

    Ansible leaves `become` off unless something says so, often the playbook. There
    is no playbook here and activation needs root, so that a login that isn't root
    becomes it unless `ansible_become: false` says otherwise.
    """
    method = BECOME_METHOD.read(variables)
    become = fill(Become, variables, method=method)
    if become.password_command and become.password_file is not None:
        raise InventoryError(
            message="orchestrate_become_password_command and orchestrate_become_password_file"
            " are both set",
            hint="keep one of the two; null unsets what a group sets",
        )
    wanted = BECOME.read(variables) and become.user != user_of(variables)
    return become if wanted else replace(become, method=BecomeMethod.NONE)


def _builder(variables: Variables) -> Builder | None:
    found = BUILDER.read(variables)
    if found is None:
        return None
    for name in found.values:
        key = name.removeprefix(f"{BUILDER.name}.")
        if key not in _BUILDER_KEYS:
            raise InventoryError(
                message=f"{BUILDER.name} has the unknown key {key!r}",
                hint=did_you_mean(key, _BUILDER_KEYS),
            )
    builder = fill(Builder, found)
    if not builder.systems:
        expected = "the systems it builds for, such as [x86_64-linux]"
        raise variables.wrong(BUILDER_SYSTEMS.name, "missing", expected)
    return builder


def _health(variables: Variables) -> HealthCheck | None:
    argv = HEALTH_CHECK.read(variables)
    return None if argv is None else fill(HealthCheck, variables, argv=argv)
