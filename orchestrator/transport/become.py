"""How commands on a host become root, and the password that this may need, read when it is needed.

What travels in a plan is a reference: a file, or a command. A password that was
typed stays in the command, which is its own worker.
"""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from inventory.host import Become, BecomeMethod, Host
from orchestrator.command import last_lines
from orchestrator.errors import UsageError
from orchestrator.log import hide
from orchestrator.scripts import script

if TYPE_CHECKING:
    from orchestrator.command import Command

_COMMAND_SECONDS = 60.0
_REMEMBER_SECONDS = 300.0
"""How long a command's answer is good: workers live long, and passwords change."""


# What lets a login through without a password, and how the program is called. run0(1)
# passes standard input and output on where there is no terminal, and doesn't expand what
# looks like a variable; polkit decides.
_WITHOUT_PASSWORD = {
    BecomeMethod.DOAS: ("a nopass rule in doas.conf", "doas", "-n", "-u", "{user}"),
    BecomeMethod.RUN0: (
        "a polkit rule for org.freedesktop.systemd1.manage-units",
        "run0",
        "--no-ask-password",
        "--user={user}",
        "--",
    ),
}


@dataclass(frozen=True, slots=True)
class Privilege:
    """The way to root on one host, as the inventory has it."""

    host: Host

    @property
    def needs_password(self) -> bool:
        """Whether a password has to be handed over, which only this machine may know.

        Raises:
            UsageError: the inventory refers to one that can't be read.
        """
        return become_password(self.host) is not None

    def elevate(self, command: Command) -> Command:
        """Return the command that runs as root there; as it is where the login is root.

        Raises:
            UsageError: the password can't be read, or the program takes none.
        """
        return elevated(command, self.host.become, become_password(self.host))


def elevated(command: Command, become: Become, password: str | None = None) -> Command:
    """Run a command with privilege, by the program that the inventory names.

    A password goes in front of what the command reads, as its first line. A
    shell takes it off again, because sudo does so only if it asks: if it still
    remembers an earlier one, the command would read the password.

    Raises:
        UsageError: doas and run0 take no password from a pipe.
    """
    if become.method is BecomeMethod.NONE:
        return command
    # All of them drop the environment that they are started with.
    command = replace(command, argv=command.words(), environment=())
    if become.method in _WITHOUT_PASSWORD:
        rule, *argv = _WITHOUT_PASSWORD[become.method]
        if password is not None:
            message = f"{become.method} can't be given a password without a terminal"
            raise UsageError(message, hint=f"use sudo, or {rule}")
        words = (word.format(user=become.user) for word in argv)
        return replace(command, argv=(*words, *command.argv))
    if password is None:
        return replace(command, argv=("sudo", "-n", "-u", become.user, "--", *command.argv))
    asking = script("transport/sudo_with_password.sh", *command.argv, user=become.user)
    stdin = password.encode() + b"\n" + (command.stdin or b"")
    return replace(command, argv=asking.argv, stdin=stdin)


@dataclass(slots=True)
class _Typed:
    """What the user typed at the start of this process, for every host alike."""

    password: str | None = None


_typed = _Typed()


def remember_typed(password: str) -> None:
    """Keep a password that the user typed, for as long as this process lives."""
    hide(password)
    _typed.password = password


def become_password(host: Host) -> str | None:
    """Read the password that the inventory refers to, else give the typed one.

    doas and run0 take none without a terminal, so that what was typed for others
    isn't for them.

    Raises:
        UsageError: the file can't be read, or the command gives no password.
    """
    become = host.become
    if become.password_file is not None:
        password = _from_file(host, become.password_file)
    elif become.password_command and become.needed:
        password = _from_command(
            host.name, become.password_command, int(time.monotonic() // _REMEMBER_SECONDS)
        )
    else:
        return _typed.password if become.method is BecomeMethod.SUDO else None
    hide(password)
    return password


def _from_file(host: Host, file: str) -> str:
    try:
        return Path(file).read_text().rstrip("\n")
    except OSError as error:
        message = f"can't read the password file {file}: {error.strerror}"
        raise UsageError(
            message, host=host.name, hint="see orchestrate_become_password_file"
        ) from error


@lru_cache(maxsize=256)
def _from_command(host: str, argv: tuple[str, ...], _period: int) -> str:
    """Run a password command on this machine; its first line is the password.

    Asked once in a period, for a password manager may ask its user each time.
    """
    hint = "run it here by hand; see orchestrate_become_password_command"
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_COMMAND_SECONDS,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        message = f"the password command {argv[0]} failed (exit code {error.returncode})"
        said = last_lines(error.stderr.decode(errors="replace"))
        raise UsageError(message, host=host, hint=hint, last_lines=said) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        message = f"the password command {argv[0]} gave no answer: {type(error).__name__}"
        raise UsageError(message, host=host, hint=hint) from None
    lines = done.stdout.decode(errors="replace").splitlines()
    if not lines or not lines[0]:
        message = f"the password command {argv[0]} printed nothing"
        raise UsageError(message, host=host, hint=hint)
    return lines[0]
