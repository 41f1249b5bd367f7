"""Steps 4, 5 and 6: each machine's package, Home Manager's, and the leftovers of before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.adopt import edit
from orchestrator.adopt.draft import Draft
from orchestrator.adopt.flake_input import FLAKE, flake_source
from orchestrator.adopt.machines import inline_modules, machines, systems
from orchestrator.adopt.names import ATTRIBUTES, DEFAULT
from orchestrator.adopt.overlays import module_added
from orchestrator.adopt.packages import HOME, SYSTEM, addition, references, replacement
from orchestrator.errors import UsageError
from orchestrator.model.variant import Backend, Variant

if TYPE_CHECKING:
    from tree_sitter import Node

    from orchestrator.adopt.machines import Machine, System
    from orchestrator.adopt.packages import Reference
    from orchestrator.adopt.syntax import Source


@dataclass(frozen=True, slots=True)
class Installer:
    """What is to be in the lists, by machine, and the names that a llama.cpp may have there.

    `wanted` names only machines of the flake; `pins` may name others.
    """

    draft: Draft
    wanted: Mapping[str, str]
    pins: Mapping[str, str]
    known: frozenset[str]
    home_manager: str | None = None

    def run(self) -> None:
        """Bring every list to what the machines are to have.

        Raises:
            UsageError: a machine that isn't in the flake was given a variant.
        """
        found = machines(self.draft, flake_source(self.draft))
        self._check_names(found)
        chosen = {machine.name: self._install(machine) for machine in found}
        self._clear_shared(found, chosen)
        self._clear_homes(found, chosen)
        if self.home_manager is not None:
            self._add_home(self.home_manager)
        if self.draft.changes() and any(map(_needs_licence, chosen.values())):
            self.draft.notes.append("CUDA needs nixpkgs.config.allowUnfree = true on its machines")

    def _check_names(self, found: list[Machine]) -> None:
        names = {machine.name for machine in found}
        unknown = sorted(set(self.wanted) - names)
        if unknown:
            raise UsageError(
                message=f"the flake makes no machine {', '.join(unknown)}",
                hint=f"it makes {', '.join(sorted(names)) or 'none that its source names'}",
            )
        if not names:
            self.draft.notes.append(
                "the machines' names can't be told from flake.nix: "
                f"add pkgs.{DEFAULT} or a variant to their systemPackages yourself"
            )

    def _install(self, machine: Machine) -> str:
        """Install a machine's package: in its own file, otherwise in the flake."""
        wanted = self.wanted.get(machine.name, self.pins.get(machine.name))
        if machine.file is not None:
            source = self.draft.source(machine.file)
            assert source is not None  # noqa: S101 - resolved because it exists
            attribute = self._settle(source, [source.expression], wanted)
            attribute = attribute or self._add(machine.file, wanted or DEFAULT)
            if attribute:
                return attribute
        return self._install_in_flake(machine, wanted)

    def _install_in_flake(self, machine: Machine, wanted: str | None) -> str:
        source = flake_source(self.draft)
        system = _system_of(source, machine)
        modules = inline_modules(system.modules) if system.name == machine.name else []
        attribute = self._settle(source, modules, wanted)
        if attribute:
            return attribute
        attribute = wanted or DEFAULT
        if system.name != machine.name:
            self.draft.notes.append(
                f"{machine.name}: add pkgs.{attribute} to its systemPackages yourself: "
                "no file of its own was found"
            )
            return attribute
        module = f"({{ pkgs, ... }}: {{ environment.systemPackages = [ pkgs.{attribute} ]; }})"
        self.draft.edit(source, [module_added(source, system, module)])
        return attribute

    def _settle(self, source: Source, modules: list[Node], wanted: str | None) -> str | None:
        """Make one llama.cpp of those that modules list already; return it."""
        found = [ref for node in modules for ref in references(node, SYSTEM, self.known)]
        sure = [reference for reference in found if reference.sure]
        keep = next((ref for ref in sure if _fits(ref, wanted)), None)
        changed = keep or (sure[0] if sure else None)
        attribute = keep.attribute if keep else wanted or DEFAULT
        others = [
            ref for ref in found if ref is not changed and (ref.sure or ref.attribute != attribute)
        ]
        edits = [edit.removed(source, reference.node) for reference in others]
        if changed is not None and keep is None:
            edits.append(replacement(changed, attribute))
        self.draft.edit(source, edits)
        return None if changed is None else attribute

    def _add(self, path: str, attribute: str) -> str | None:
        source = self.draft.source(path)
        assert source is not None  # noqa: S101 - edited a moment ago
        edits = addition(source, source.expression, SYSTEM, attribute)
        if edits is None:
            return None
        self.draft.edit(source, edits)
        return attribute

    def _clear_shared(self, found: list[Machine], chosen: Mapping[str, str]) -> None:
        """Take llama.cpp out of what machines share: each has its own now."""
        own = {machine.file for machine in found}
        for path in sorted(_reached_by(found, chosen)):
            source = self.draft.source(path)
            if source is None or path in own or path == FLAKE:
                continue
            leftovers = references(source.expression, SYSTEM, self.known)
            self.draft.edit(source, [edit.removed(source, each.node) for each in leftovers])

    def _clear_homes(self, found: list[Machine], chosen: Mapping[str, str]) -> None:
        """Keep what Home Manager lists valid, and out of the machines' way."""
        reached = _reached_by(found, chosen)
        for source in list(self.draft.sources(naming=b"packages")):
            variants = reached.get(source.path, set())
            if source.path == FLAKE:
                variants = set(chosen.values())
            listed = references(source.expression, HOME, self.known)
            edits = [
                change
                for reference in listed
                if (change := self._home_edit(source, reference, variants))
            ]
            self.draft.edit(source, edits)

    def _home_edit(
        self, source: Source, reference: Reference, variants: set[str]
    ) -> edit.Edit | None:
        valid = not reference.attribute or reference.attribute in ATTRIBUTES
        attribute = reference.attribute if valid else DEFAULT
        if variants <= {attribute} or source.path == self.home_manager:
            return None if valid else replacement(reference, attribute)
        self.draft.notes.append(
            f"{source.path}: its llama.cpp is taken out, because it would hide "
            f"{', '.join(sorted(variants))} in that user's PATH; "
            f"to keep one there: --home-manager {source.path}"
        )
        return edit.removed(source, reference.node)

    def _add_home(self, path: str) -> None:
        source = self.draft.source(path)
        if source is None:
            message = f"there is no file {path} for --home-manager"
            raise UsageError(message, hint="name it relative to the flake's directory")
        if any(reference.sure for reference in references(source.expression, HOME, self.known)):
            return
        edits = addition(source, source.expression, HOME, DEFAULT)
        if edits is None:
            message = f"{path}: home.packages can't be written there"
            raise UsageError(message, hint="name a file that is one Home Manager module")
        self.draft.edit(source, edits)


def _fits(reference: Reference, wanted: str | None) -> bool:
    """Return whether a machine can keep what it lists: what was asked for, or any that we have."""
    if wanted is None:
        return reference.attribute in ATTRIBUTES
    return reference.attribute == wanted


def _system_of(source: Source, machine: Machine) -> System:
    found = systems(source)
    return next((system for system in found if system.name == machine.name), found[0])


def _reached_by(found: list[Machine], chosen: Mapping[str, str]) -> dict[str, set[str]]:
    """Return for each file the packages of the machines that reach it."""
    reached: dict[str, set[str]] = {}
    for machine in found:
        for path in machine.reach:
            reached.setdefault(path, set()).add(chosen[machine.name])
    return reached


def _needs_licence(attribute: str) -> bool:
    return any(
        variant.attribute == attribute and variant.backend is Backend.CUDA for variant in Variant
    )
