"""What a user can do about the failures that other programs print.

Apart from the errors themselves, as colmena keeps its troubleshooter: a hint is
looked up by what the failed command said, so that no call site repeats it.
"""

from __future__ import annotations

_SUDO_ASKS = (
    "set orchestrate_become_password_file or orchestrate_become_password_command for this host,"
    " or type the password for --ask-become-pass"
)

_HINTS: tuple[tuple[str, str], ...] = (
    ("No space left on device", "free space in the store there: nix-collect-garbage -d"),
    (
        "lacks a signature by a trusted key",
        "sign the closure, or make the deploying user trusted on that host",
    ),
    ("is not a trusted user", "add the deploying user to trusted-users there, or let it use sudo"),
    ("sudo: a password is required", _SUDO_ASKS),
    ("sudo: a terminal is required", _SUDO_ASKS),
    # sudo-rs, which is NixOS's security.sudo-rs.
    ("sudo: interactive authentication is required", _SUDO_ASKS),
    ("must have a tty", "remove requiretty for this login from the sudoers there"),
    ("is not in the sudoers file", "let this login use sudo there, or log in as root"),
    ("incorrect password attempt", "the password for sudo there is another one"),
    ("Host key verification failed", "compare its key and record it in the known_hosts file"),
    ("experimental Nix feature", "allow nix-command and flakes there: experimental-features"),
    ("required system or feature not available", "no machine here can build this: add a builder"),
    ("does not provide attribute", "check orchestrate_nixos_name and the flake's outputs"),
    (
        "is not accepted: set orchestrate_accept_licences",
        "read https://docs.nvidia.com/cuda/eula first",
    ),
    ("has an unfree license", "allow this licence in the flake's nixpkgs configuration"),
    ("command not found", "install the program there, or put it on the login shell's PATH"),
    ("Text file busy", "something writes to that file: wait for it and try again"),
    ("could not acquire lock", "another activation runs there: wait for it and try again"),
)


def hint_for(output: str) -> str:
    """Return the advice for the first known sign in `output`, or an empty string."""
    for sign, hint in _HINTS:
        if sign in output:
            return hint
    return ""
