"""Nix's own commands as argument vectors, and the parsers of what they print.

Pure: nothing here runs anything. Only commands and output that Nix 2.18 to 2.34
agree on are used (`nix derivation show --json` and `nix path-info --json`, for
example, are not among them).
"""

from __future__ import annotations

import json

from orchestrator.command import Command, script
from orchestrator.errors import PayloadError
from orchestrator.model.store import (
    DerivationPath,
    StorePath,
    parse_derivation_path,
    parse_store_path,
)

_FLAKES = ("--extra-experimental-features", "nix-command flakes")

GC_ROOTS = "/nix/var/nix/gcroots/orchestrate"
"""Where this program's garbage collector roots are, on builders and targets."""


def flake_lock(directory: str, update: tuple[str, ...]) -> Command:
    """Lock the flake, taking only the inputs in `update` anew."""
    if update:
        return Command(
            ("nix", *_FLAKES, "flake", "update", *update, "--flake", f"path:{directory}")
        )
    return Command(("nix", *_FLAKES, "flake", "lock", f"path:{directory}"))


def flake_metadata(directory: str) -> Command:
    """Ask for the locked flake's fingerprint, as JSON."""
    return Command(("nix", *_FLAKES, "flake", "metadata", "--json", f"path:{directory}"))


def parse_fingerprint(text: str) -> str:
    """Read the fingerprint out of `nix flake metadata --json`.

    Raises:
        PayloadError: it isn't that command's output.
    """
    try:
        fingerprint = json.loads(text)["fingerprint"]
    except (ValueError, KeyError, TypeError) as error:
        message = "nix flake metadata gave no fingerprint"
        raise PayloadError(message, hint="Nix 2.18 or newer is needed to evaluate") from error
    return str(fingerprint)


def path_info_derivations(directory: str, attributes: tuple[str, ...]) -> Command:
    """Instantiate attributes of a flake, through Nix's evaluation cache.

    `nix eval` never uses that cache (NixOS/nix#13307); this does.
    """
    installables = tuple(f"path:{directory}#{attribute}" for attribute in attributes)
    return Command(("nix", *_FLAKES, "path-info", "--derivation", *installables))


def parse_derivations(text: str) -> tuple[DerivationPath, ...]:
    """Read one derivation path a line.

    Raises:
        PayloadError: a line is anything else.
    """
    return tuple(parse_derivation_path(line) for line in text.split())


def parse_store_paths(text: str) -> tuple[StorePath, ...]:
    """Read one store path a line.

    Raises:
        PayloadError: a line is anything else.
    """
    return tuple(parse_store_path(line) for line in text.split())


def outputs(derivations: tuple[DerivationPath, ...]) -> Command:
    """Ask for the output paths of derivations, one line each, in their order."""
    return script('for drv; do nix-store --query --outputs "$drv" || exit; done', *derivations)


def requisites(paths: tuple[str, ...]) -> Command:
    """Ask for the closure of `paths`, one path a line, dependencies first."""
    return script('exec nix-store --query --requisites "$@"', *paths)


def invalid_among(paths: tuple[str, ...]) -> Command:
    """Ask which of `paths` this store lacks; the paths travel on stdin."""
    asked = script("exec xargs nix-store --check-validity --print-invalid")
    return Command(asked.argv, stdin="\n".join(paths).encode())


def export(paths: tuple[str, ...]) -> Command:
    """Write `paths` as one stream that `nix-store --import` reads.

    The paths are arguments of the script's own: a closure of a NixOS system is
    about a quarter of a megabyte of names, well under the limit of 2 MiB.
    """
    return script('exec nix-store --export "$@"', *paths)


def import_and_root(root: str, path: StorePath | DerivationPath) -> Command:
    """Take a stream from stdin, then hold `path` against the garbage collector."""
    return script(
        f'nix-store --import >/dev/null && mkdir -p {GC_ROOTS} && ln -sfn "$2" {GC_ROOTS}/"$1"',
        root,
        path,
    )
