"""A nixos-rebuild on a host of the lab: as on NixOS, in its store and on its PATH."""

from __future__ import annotations

import io
import tarfile
from base64 import b64encode
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.lab import Host

ON_PATH = "/usr/local/bin/nixos-rebuild"


@contextmanager
def nixos_rebuild(host: Host, files: Mapping[str, bytes]) -> Iterator[str]:
    """Give a host a package `nixos-rebuild` with these files for a while; yield its path.

    Args:
        host: which gets it.
        files: what the package holds, by paths below it; `bin/nixos-rebuild` among them.
    """
    path = add_to_store(host, "nixos-rebuild", files)
    host.shell(f"ln -sfn {path}/bin/nixos-rebuild {ON_PATH}")
    try:
        yield path
    finally:
        host.shell(f"rm -f {ON_PATH}")


def add_to_store(host: Host, name: str, files: Mapping[str, bytes]) -> str:
    """Add a folder to a host's store and give its path; files in a `bin` can be run."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for place, content in files.items():
            entry = tarfile.TarInfo(f"{name}/{place}")
            entry.size = len(content)
            entry.mode = 0o755 if place.startswith("bin/") else 0o644
            archive.addfile(entry, io.BytesIO(content))
    script = (
        f"cd $(mktemp -d); base64 -d | tar -xz; nix-store --add {name}; rm -r {name}; rmdir $PWD"
    )
    done = host.exec("sh", "-euc", script, stdin=b64encode(packed.getvalue()).decode())
    return done.stdout.strip()
