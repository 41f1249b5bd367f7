"""Write the flake that Nix evaluates: the template, and the choices as JSON beside it.

No Nix code is made here except two strings, the inputs' URLs. Everything else
that differs between fleets is data in fleet.json.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import msgspec

import orchestrator
from inventory.host import Fleet, Licence, LlamaSource, TargetScope
from orchestrator.errors import UsageError
from orchestrator.model.stage import Stage
from orchestrator.model.variant import Backend, Variant
from orchestrator.stages.flake.gpu_targets import BuildTargets, share_targets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from inventory.host import Host, Inventory
    from orchestrator.model.variant import VariantChoice


_COPIED = ("home.nix", "module.nix", "outputs.nix", "overlay.nix")

INPUTS = ("llama-cpp", "user")
"""The inputs of the generated flake, as flake.lock names them."""
_FLEET_JSON = "fleet.json"

# The Nix manual, "String literal": a backslash and a double quote end or escape,
# `${` interpolates, and the lexer turns a carriage return into a newline.
_ESCAPES = str.maketrans(
    {"\\": "\\\\", '"': '\\"', "$": "\\$", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
)
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class FleetEntry(msgspec.Struct, frozen=True, rename="camel"):
    """One host in fleet.json: its attribute in the user's flake, and its package.

    `attribute` is the overlay's, or None for a host that keeps its own system.
    `gpu_targets` are those of its own GPUs; `cuda_capabilities` and
    `rocm_gpu_targets` are what its build compiles for, other hosts' GPUs included.
    """

    nixos_name: str
    attribute: str | None = None
    system: str = ""
    source: LlamaSource = LlamaSource.UPSTREAM
    web_ui: bool = True
    accepted_licences: tuple[Licence, ...] = ()
    gpu_targets: tuple[str, ...] = ()
    march: str | None = None
    cpu_features: tuple[str, ...] = ()
    cuda_capabilities: tuple[str, ...] = ()
    rocm_gpu_targets: tuple[str, ...] = ()


class _FleetFile(msgspec.Struct, frozen=True, rename="camel"):
    """fleet.json. The licences at its top are for the flake's packages; a host has its own."""

    hosts: dict[str, FleetEntry]
    accepted_licences: tuple[Licence, ...] = ()


def write_flake(directory: Path, inventory: Inventory, choices: Sequence[VariantChoice]) -> Path:
    """Write the fleet's flake into `directory` and give that directory.

    A file whose bytes are right already is not touched, and flake.lock never:
    Nix's evaluation cache holds as long as nothing changes. A host that this
    run did not look at keeps its earlier choice for the same reason.

    Args:
        directory: where the flake lives; made if absent.
        inventory: names the targets and the two inputs.
        choices: what this run chose, for some or all of the targets.

    Raises:
        UsageError: the inventory names no flake, or a URL can't be written.
    """
    if inventory.fleet.flake is None:
        raise UsageError(
            message=f"{inventory.path} names no flake",
            hint="set orchestrate_flake in the vars of the group all",
            stage=Stage.FLAKE,
        )
    directory.mkdir(parents=True, exist_ok=True)
    user_url = flake_url(inventory.fleet.flake)
    llama_cpp_url = source_url(inventory.fleet.llama_cpp)
    earlier = _earlier_entries(directory / _FLEET_JSON)
    template = template_directory()
    for name in _COPIED:
        _write_if_different(directory / name, (template / name).read_bytes())
    _write_if_different(
        directory / _FLEET_JSON,
        fleet_json(choices, inventory.targets, earlier=earlier, fleet=inventory.fleet),
    )
    _write_if_different(directory / "flake.nix", flake_nix(user_url, llama_cpp_url).encode())
    return directory


def fleet_json(
    choices: Sequence[VariantChoice],
    hosts: Sequence[Host],
    *,
    earlier: Mapping[str, FleetEntry] | None = None,
    fleet: Fleet | None = None,
) -> bytes:
    """Return fleet.json: an entry a host, sorted, the same bytes for the same choices.

    A host without a choice keeps its entry of `earlier`, or gets what its pin
    asks for, or no package. Its GPUs count for the builds that it shares with
    those that have one.
    """
    settings = fleet or Fleet()
    chosen = {choice.host: choice for choice in choices}
    entries = {}
    for host in hosts:
        if host.name in chosen:
            entries[host.name] = _entry(host, chosen[host.name], settings)
        else:
            known = (earlier or {}).get(host.name, _unseen(host, settings))
            entries[host.name] = msgspec.structs.replace(known, nixos_name=host.nixos_name)
    if settings.gpu_targets is TargetScope.PER_FLEET:
        entries |= _sharing(entries, chosen)
    written = _FleetFile(entries, tuple(sorted(settings.accept_licences)))
    text = json.dumps(msgspec.to_builtins(written), indent=2, sort_keys=True)
    return f"{text}\n".encode()


def _entry(host: Host, choice: VariantChoice, fleet: Fleet) -> FleetEntry:
    return FleetEntry(
        nixos_name=host.nixos_name,
        attribute=choice.variant.attribute,
        system=choice.system,
        source=choice.source,
        web_ui=choice.web_ui,
        accepted_licences=_accepted(choice.variant, fleet),
        gpu_targets=choice.gpu_targets,
        march=choice.march,
        cpu_features=choice.cpu_features,
        cuda_capabilities=choice.cuda_capabilities,
        rocm_gpu_targets=choice.rocm_gfx_targets,
    )


def _sharing(
    entries: Mapping[str, FleetEntry], chosen: Mapping[str, VariantChoice]
) -> dict[str, FleetEntry]:
    """Return the entries of the chosen hosts for the GPUs of all that share their package.

    The others are left as they are: what they run is theirs until their own run.
    """
    wishes = {
        name: BuildTargets(
            (entry.attribute or "", entry.system, entry.source, str(entry.web_ui)),
            entry.gpu_targets,
        )
        for name, entry in entries.items()
    }
    shared = share_targets(wishes)
    return {
        name: _compiled_for(entry, shared[name].targets)
        for name, entry in entries.items()
        if name in chosen
    }


def _compiled_for(entry: FleetEntry, targets: tuple[str, ...]) -> FleetEntry:
    if entry.cuda_capabilities:
        return msgspec.structs.replace(entry, cuda_capabilities=targets)
    if entry.rocm_gpu_targets:
        return msgspec.structs.replace(entry, rocm_gpu_targets=targets)
    return entry


def _unseen(host: Host, fleet: Fleet) -> FleetEntry:
    """Return the entry of a host that nobody has looked at yet."""
    pinned = next((variant for variant in Variant if variant == host.variant_pin), None)
    if pinned is None:
        return FleetEntry(host.nixos_name)
    return FleetEntry(
        host.nixos_name,
        pinned.attribute,
        source=host.llama_source,
        web_ui=host.web_ui,
        accepted_licences=_accepted(pinned, fleet),
    )


def _accepted(variant: Variant, fleet: Fleet) -> tuple[Licence, ...]:
    """Return the accepted licences that a variant needs; the others are none of its business."""
    return fleet.accept_licences if variant.backend is Backend.CUDA else ()


def _earlier_entries(file: Path) -> dict[str, FleetEntry]:
    """Read an earlier run's choices; what can't be read is chosen anew."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=_FleetFile).hosts
    except (FileNotFoundError, msgspec.DecodeError):
        return {}


def flake_nix(user_url: str, llama_cpp_url: str) -> str:
    """Return flake.nix with its two inputs' URLs filled in.

    Raises:
        UsageError: a URL holds what no Nix string can.
    """
    urls = {"@user@": user_url, "@llama-cpp@": llama_cpp_url}
    template = (template_directory() / "flake.nix").read_text(encoding="utf-8")
    # In one pass: a URL that contains the other's mark stays as it is.
    return re.sub(
        r'"(@user@|@llama-cpp@)"', lambda match: f'"{nix_string(urls[match[1]])}"', template
    )


def nix_string(text: str) -> str:
    r"""Escape a text for between the double quotes of a Nix string.

    Raises:
        UsageError: it holds a NUL, which Nix refuses, or half a surrogate pair.
    """
    if "\0" in text or _SURROGATE.search(text):
        raise UsageError(
            message=f"{text!r} can't be written as a Nix string",
            hint="leave out the NUL or the undecodable byte",
            stage=Stage.FLAKE,
        )
    return text.translate(_ESCAPES)


def flake_url(reference: str) -> str:
    """Return the URL of a flake input for a flake reference or a path on this machine.

    A path in a git work tree becomes `git+file:`, of which Nix copies only what
    git tracks; any other `path:`. What is no path passes through.
    """
    path = _local_path(reference)
    if path is None:
        return reference
    root = git_work_tree(path)
    return f"path:{quote(str(path))}" if root is None else _git_url(root, path)


def source_url(reference: str) -> str:
    """Return the URL of an input that is a source tree, not a flake.

    As `flake_url`, but a folder inside a work tree is a `path:`: Nix ignores the
    `dir` of an input with `flake = false` and would take the whole tree.
    """
    path = _local_path(reference)
    if path is None or path == git_work_tree(path):
        return flake_url(reference)
    return f"path:{quote(str(path))}"


def _local_path(reference: str) -> Path | None:
    """Return the path that a reference is; None for a flake reference."""
    if reference.startswith(("/", "./", "../")) or reference in {".", ".."}:
        return Path(reference).resolve()
    return None


def _git_url(root: Path, path: Path) -> str:
    query = {}
    if path != root:
        query["dir"] = path.relative_to(root).as_posix()
    # Nix refuses a clone without its history unless told that it is one.
    if (root / ".git" / "shallow").exists():
        query["shallow"] = "1"
    suffix = f"?{urlencode(query, quote_via=quote, safe='/')}" if query else ""
    return f"git+file://{quote(str(root))}{suffix}"


def git_work_tree(path: Path) -> Path | None:
    """Return the top of the work tree around `path`: `.git` is a file in a linked one."""
    for directory in (path, *path.parents):
        if (directory / ".git").exists():
            return directory
    return None


def template_directory() -> Path:
    """Return where the template's files are: in the wheel, otherwise in the checkout."""
    package = Path(orchestrator.__file__).parent
    installed = package / "flake-template"
    return installed if installed.is_dir() else package.parent / "flake-template"


def _write_if_different(file: Path, content: bytes) -> None:
    """Write a file whole or not at all, and only if its bytes change."""
    if file.is_file() and file.read_bytes() == content:
        return
    partial = file.with_name(f".{file.name}.partial")
    partial.write_bytes(content)
    partial.replace(file)
