"""What lies on a host's disks before its first boot."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.lab.images import IMAGES
from tests.lab.processes import run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.spec import HostSpec

_DEPLOY_UID = 1000
HOST_KEY = "etc/ssh/ssh_host_ed25519_key"
SUDOERS = "/etc/sudoers.d/lab"


def sudo_rule(user: str, *, asks: bool) -> str:
    """Return the sudoers line by which a user may do everything."""
    return f"{user} ALL=(ALL) {'' if asks else 'NOPASSWD: '}ALL\n"


def make_key(path: Path, comment: str) -> None:
    """Make an ssh key pair."""
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path])


def lay_out(directory: Path, spec: HostSpec, *, login: str, neighbours: str) -> None:
    """Write the host's own files over its image and give it an empty /nix.

    Args:
        directory: the host's folder in the lab.
        spec: what the host is to be.
        login: the public key that may log in.
        neighbours: its /etc/hosts.

    """
    for name in ("upper", "work", "root"):
        (directory / name).mkdir(parents=True)
    os.mkfifo(directory / "power")
    volume = IMAGES[spec.image].nix_volume()
    run(["cp", "--sparse=always", volume, directory / "nix.ext4"])
    upper = directory / "upper"
    _write(upper / "etc/hostname", f"{spec.name}\n")
    _write(upper / "etc/hosts", neighbours)
    _write(upper / "etc/nix/nix.conf", _nix_conf(spec))
    (upper / "etc/ssh").mkdir()
    make_key(upper / HOST_KEY, spec.name)
    if spec.sudo:
        _write(upper / SUDOERS.lstrip("/"), sudo_rule(spec.user, asks=False), 0o440)
    _allow_login(upper, spec, login)


def _allow_login(upper: Path, spec: HostSpec, login: str) -> None:
    is_root = spec.user == "root"
    home = upper / ("root" if is_root else f"home/{spec.user}")
    _write(home / ".ssh/authorized_keys", login, 0o600)
    # What is in the upper layer decides the mode and owner of a merged folder.
    for path in (home, home / ".ssh"):
        path.chmod(0o700)
    if not is_root:
        for path in (home, home / ".ssh", home / ".ssh/authorized_keys"):
            os.chown(path, _DEPLOY_UID, _DEPLOY_UID)


def _nix_conf(spec: HostSpec) -> str:
    trusted = f"root {spec.user}" if spec.trusted and spec.user != "root" else "root"
    lines = [
        "experimental-features = nix-command flakes",
        # Nothing outside can be reached; each command would retry for 5 s.
        "substituters =",
        "flake-registry =",
        # A build uses the image's compiler, which a sandbox would hide.
        "sandbox = false",
        "max-jobs = auto",
        "connect-timeout = 3",
        f"trusted-users = {trusted}",
    ]
    if spec.features:
        lines.append(f"extra-system-features = {' '.join(spec.features)}")
    return "".join(f"{line}\n" for line in lines)


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
