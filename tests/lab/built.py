"""What Nix took minutes to build on a builder, kept between labs.

A cached build is the export of its closure, keyed by the derivation's hash: a
change of the source, the flags or the stand-in makes another derivation.
"""

from __future__ import annotations

import subprocess
from functools import partial
from typing import TYPE_CHECKING

from tests.lab.cache import cached

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.host import Host
    from tests.lab.lab import Lab

_BUILD_SECONDS = 3600


def realise_cached(lab: Lab, builder: Host, derivation: str) -> str:
    """Have a derivation's output valid on a builder; give its store path.

    Args:
        lab: its controller has the derivation's closure in its store.
        builder: builds it where the cache has nothing.
        derivation: the store path of the derivation.
    """
    output = lab.controller().run(("nix-store", "--query", "--outputs", derivation)).stdout.strip()
    hash_part = derivation.removeprefix("/nix/store/")[:32]
    make = partial(_build_and_export, lab, builder, derivation, output)
    export = cached(f"built-{hash_part}.export", make)
    with export.open("rb") as stream:
        subprocess.run(
            builder.exec_argv("nix-store", "--import"),
            stdin=stream,
            stdout=subprocess.DEVNULL,
            check=True,
        )
    return output


def _build_and_export(lab: Lab, builder: Host, derivation: str, output: str, path: Path) -> None:
    argv = ("nix", "copy", "--derivation", "--to", f"ssh-ng://{builder.name}", derivation)
    lab.controller().run(argv, env={"NIX_SSHOPTS": f"-F {lab.ssh_config}"})
    builder.exec("nix-store", "--realise", derivation, timeout=_BUILD_SECONDS)
    closure = builder.exec("nix-store", "--query", "--requisites", output).stdout.split()
    with path.open("wb") as stream:
        subprocess.run(
            builder.exec_argv("nix-store", "--export", *closure), stdout=stream, check=True
        )
