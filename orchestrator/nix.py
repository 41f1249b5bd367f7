"""Nix's own commands as argument vectors, and the parsers of what they print.

Pure: nothing here runs anything. Only commands and output that Nix 2.18 to 2.34
agree on are used (`nix derivation show --json`, for example, is not among them), but
for `nix path-info --json`, which alone tells a closure with its sizes in one start.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from orchestrator.command import Command
from orchestrator.errors import PayloadError
from orchestrator.model.closure import PathInfo
from orchestrator.model.store import (
    DerivationPath,
    StorePath,
    parse_derivation_path,
    parse_store_path,
)
from orchestrator.scripts import program, script

if TYPE_CHECKING:
    from inventory.copying import Caches

# Without allow-dirty-locks Nix writes no flake.lock at all while the user's work
# tree has uncommitted changes: llama.cpp would be another one from run to run, and
# nothing would be cached (NixOS/nix#12220; Nix before 2.24 only warns of it).
_FLAKES = (
    *("--extra-experimental-features", "nix-command flakes"),
    *("--option", "allow-dirty-locks", "true"),
)


def flake_update(directory: str, inputs: tuple[str, ...]) -> Command:
    """Lock the flake, taking `inputs` anew and everything else as it is locked."""
    return Command(("nix", *_FLAKES, "flake", "update", *inputs, "--flake", f"path:{directory}"))


def instantiate(directory: str, attributes: tuple[str, ...], *, realises: bool = False) -> Command:
    """Instantiate attributes of a flake, through Nix's evaluation cache.

    Args:
        directory: the flake's.
        attributes: of the flake.
        realises: whether what the evaluation itself reads (import from derivation) is
            fetched, or else built. Without it Nix asks no cache and builds nothing.

    `nix eval` never uses that cache (NixOS/nix#13307). `nix path-info
    --derivation` does, but sorts its answers and merges equal ones; a dry build
    answers once for each attribute, in their order, with the outputs. What would be
    built for them doesn't matter here.
    """
    installables = tuple(f"path:{directory}#{attribute}" for attribute in attributes)
    quick = ("--option", "substitute", "false", "--option", "max-jobs", "0")
    alone = () if realises else (*quick, "--option", "builders", "")
    return Command(
        ("nix", *_FLAKES, "build", "--dry-run", "--json", "--no-link", *alone, *installables)
    )


def wants_to_build(stderr: str) -> bool:
    """Whether an evaluation failed because it reads what has to be fetched or built first.

    What Nix says with max-jobs 0: 2.26 the first, 2.34 the second.
    """
    return "unable to start any build" in stderr.lower() or "local builds are disabled" in stderr


def hash_flake(directory: str) -> Command:
    """Ask for a hash of the flake's directory and of which Nix it is, and for its lock file.

    Another version of Nix may make other derivations of the same flake.
    """
    return script("stages/flake/hash_flake.sh", directory=directory)


def without_evaluation_cache(command: Command) -> Command:
    """Evaluate anew: an answer from the cache comes without what Nix traced."""
    return replace(command, argv=(*command.argv, "--option", "eval-cache", "false"))


def evaluate_json(directory: str, attribute: str, function: str = "value: value") -> Command:
    """Print what a function makes of an attribute of a flake, as JSON."""
    asked = (f"path:{directory}#{attribute}", "--apply", function)
    return Command(("nix", *_FLAKES, "eval", "--json", *asked))


def binding_of(derivation: DerivationPath, name: str) -> Command:
    """Ask for a value in a derivation whose attributes are not structured."""
    return program("nix-store", "--query", "--binding", name, derivation)


def parse_instantiated(text: str) -> tuple[tuple[DerivationPath, StorePath], ...]:
    """Read derivation and `out` path of each attribute, in their order.

    Raises:
        PayloadError: it isn't the output of `nix build --dry-run --json`.
    """
    try:
        rows = [(str(row["drvPath"]), str(row["outputs"]["out"])) for row in json.loads(text)]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        message = f"nix build --dry-run --json printed something else: {text[:120]!r}"
        raise PayloadError(message) from error
    return tuple((parse_derivation_path(drv), parse_store_path(out)) for drv, out in rows)


def parse_store_paths(text: str) -> tuple[StorePath, ...]:
    """Read one store path a line.

    Raises:
        PayloadError: a line is anything else.
    """
    return tuple(parse_store_path(line) for line in text.split())


def requisites(paths: tuple[str, ...]) -> Command:
    """Ask for the closure of `paths`, one path a line, dependencies first."""
    return program("nix-store", "--query", "--requisites", *paths)


def path_infos(roots: tuple[StorePath, ...]) -> Command:
    """Ask for the closure of `roots` with sizes and references, in one start of Nix."""
    return script("stages/copy_closure/path_infos.sh", *roots)


def parse_path_infos(text: str) -> dict[StorePath, PathInfo]:
    """Read what `path_infos` printed: a list of objects up to Nix 2.18, then one object.

    Raises:
        PayloadError: it is anything else.
    """
    try:
        said = json.loads(text)
        rows = [(row["path"], row) for row in said] if isinstance(said, list) else said.items()
        return {parse_store_path(path): _path_info(path, row) for path, row in rows}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        message = f"nix path-info --json printed something else: {text[:120]!r}"
        raise PayloadError(message) from error


def _path_info(path: str, row: dict[str, Any]) -> PathInfo:
    size = row["narSize"]
    if type(size) is not int or size < 0:
        raise ValueError(size)
    references = frozenset(parse_store_path(name) for name in row["references"])
    return PathInfo(parse_store_path(path), size, references)


def invalid_among(paths: tuple[str, ...]) -> Command:
    """Ask which of `paths` this store lacks."""
    asked = program("xargs", "nix-store", "--check-validity", "--print-invalid")
    return asked.with_lines(paths)


def export(paths: tuple[str, ...]) -> Command:
    """Write `paths` as one stream that `nix-store --import` reads.

    One stream is one process, so xargs must not split the arguments: callers
    pass at most `EXPORT_PATHS`.
    """
    return program("xargs", "-x", "-s", "1500000", "nix-store", "--export").with_lines(paths)


EXPORT_PATHS = 4000
"""How many store paths one stream carries: 4000 of 250 bytes fit xargs' 1.5 MB."""


def cache_settings(caches: Caches, *keys: str) -> tuple[tuple[str, str], ...]:
    """Return the settings by which Nix takes paths from caches, and trusts further keys.

    Only a user that Nix trusts can set them (Nix manual, `trusted-users`): from
    others Nix says that it ignores them, and does without.
    """
    settings = []
    if trusted := (*caches.public_keys, *keys):
        settings.append(("extra-trusted-public-keys", " ".join(trusted)))
    if caches.substituters:
        settings.append(("extra-substituters", " ".join(caches.substituters)))
        # Nix waits for a dead cache without end by default.
        settings.append(("connect-timeout", "5"))
    return tuple(settings)


def as_options(settings: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """Render settings as options that every command of Nix takes."""
    return tuple(part for name, value in settings for part in ("--option", name, value))


def serve_store(settings: tuple[tuple[str, str], ...], *, trusted: bool) -> Command:
    """Serve this store's protocol on stdin and stdout.

    A client that isn't trusted can only add paths that a trusted key signed, or
    whose content is their name (Nix manual, `nix daemon`, `--force-untrusted`). The
    experimental feature must come first: each option is checked when it is read.

    Args:
        settings: name and value of what holds for this one client.
        trusted: whether the client may add what nobody signed.
    """
    trust = "--force-trusted" if trusted else "--force-untrusted"
    feature = as_options((("extra-experimental-features", "daemon-trust-override"),))
    return program("nix-daemon", *feature, "--stdio", trust, *as_options(settings))


COPY = (
    *("--extra-experimental-features", "nix-command"),
    *("copy", "--verbose", "--log-format", "internal-json"),
)
"""`nix copy` that tells how far it is (`stages.copy_closure.progress` reads it)."""


def import_stream() -> Command:
    """Take a stream from stdin into the store."""
    return script("stages/build/import_stream.sh")
