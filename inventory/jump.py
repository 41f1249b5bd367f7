"""The host in between: `orchestrate_jump`, and ProxyJump in Ansible's arguments."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from inventory.definition import Definition, Subject, fill
from inventory.host import ADDRESS, JUMP, OLD_USER, PORT, USER, JumpHost
from inventory.host_range import split_port
from inventory.kinds import Text
from orchestrator.errors import InventoryError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from inventory.variables import Variables

ARGUMENTS = Definition(
    "ansible_ssh_common_args",
    Text(may_be_empty=True),
    Subject.CONNECTION,
    "Arguments of ssh, of which only a jump host is understood: `-J` or `-o ProxyJump=`",
    default="",
    otherwise="no jump host",
)

_INSTEAD = {
    "identityfile": "ansible_ssh_private_key_file",
    "port": "ansible_port",
    "user": "ansible_user",
    "hostname": "ansible_host",
    "connecttimeout": "orchestrate_connect_timeout",
    "userknownhostsfile": "orchestrate_known_hosts",
    "stricthostkeychecking": "orchestrate_host_key_policy",
    "proxycommand": "orchestrate_jump",
    "i": "ansible_ssh_private_key_file",
    "p": "ansible_port",
    "l": "ansible_user",
}


def jump_of(variables: Variables, all_variables: Mapping[str, Variables]) -> JumpHost | None:
    """Find the host that a host is reached through.

    Args:
        variables: of the host.
        all_variables: the variables of all hosts, as a jump may be one of them.

    Raises:
        InventoryError: it is malformed, goes in circles, or the ssh arguments
            hold something else than a jump.
    """
    named = JUMP.read(variables)
    # Empty arguments are how a host drops those of its group.
    arguments = ARGUMENTS.read(variables)
    jump = named or (_proxy_jump(arguments) if arguments else None)
    if jump is None or jump == "none":
        return None
    if jump not in all_variables:
        return _address(jump)
    if jump == variables.host:
        raise InventoryError(message="the host is its own jump host")
    return _host(all_variables[jump])


def _host(through: Variables) -> JumpHost:
    """Turn a host of the inventory into a jump."""
    if through.values.get(JUMP.name):
        raise InventoryError(
            message=f"the jump host {through.host} is itself behind a jump host",
            hint="one jump is possible; give ssh's own configuration the rest of the way",
        )
    address = ADDRESS.read(through) or through.host
    return fill(JumpHost, through, address=address, user=user_of(through))


def user_of(variables: Variables) -> str:
    """Return the login name; `ansible_user` wins over its old name, as in Ansible."""
    has_new_name = variables.values.get(USER.name) is not None
    return USER.read(variables) if has_new_name else OLD_USER.read(variables)


def _address(text: str) -> JumpHost:
    """Read `user@address:port` or `ssh://user@address:port`."""
    if "," in text:
        raise InventoryError(
            message=f"jump {text!r} names several hosts",
            hint="one jump is possible; give ssh's own configuration the rest of the way",
        )
    user, at, place = text.removeprefix("ssh://").rpartition("@")
    address, port = split_port(place)
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    return JumpHost(address=address, port=port or PORT.default, user=user if at else USER.default)


def _proxy_jump(arguments: str) -> str | None:
    """Take the jump out of ssh arguments; anything else has a variable of its own.

    Raises:
        InventoryError: there is anything else.
    """
    try:
        words = iter(shlex.split(arguments))
    except ValueError as error:
        raise InventoryError(message=f"{ARGUMENTS.name} can't be split: {error}") from error
    jump: str | None = None
    for word in words:
        option, value = _option(word, words)
        if option not in {"J", "proxyjump"} or not value:
            instead = _INSTEAD.get(option)
            raise InventoryError(
                message=f"{ARGUMENTS.name} has {word!r}, and only a jump host is understood there",
                hint=f"set {instead} instead" if instead else "use -J or -o ProxyJump=",
            )
        jump = jump or value
    return jump


def _option(word: str, following: Iterator[str]) -> tuple[str, str]:
    """Split `-J x`, `-Jx`, `-o Name=x` and `-oName x` into name and value."""
    letter, value = word[:2], word[2:]
    if letter not in {"-J", "-o"}:
        return word.lstrip("-")[:1] if word.startswith("-") else word, ""
    value = value or next(following, "")
    if letter == "-J":
        return "J", value
    name, equals, content = value.partition("=")
    if not equals:
        name, _, content = value.partition(" ")
    return name.strip().lower(), content.strip()
