"""`orchestrate flake check` and what it makes of Nix's answers, by Nix itself."""

from __future__ import annotations

import asyncio
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from orchestrator.model.plan import FlakeRef
from orchestrator.model.variant import Variant, VariantChoice
from orchestrator.stages.evaluate.check import (
    Kind,
    State,
    check_machine,
    check_overlays,
    check_package,
    package_names,
    system_of,
)
from orchestrator.transport.shell import LocalShell
from tests.unit.stages.flake.test_template import environment, user_flake, written

if TYPE_CHECKING:
    from pathlib import Path

SYSTEM = "x86_64-linux"
CUDA = "llama-cpp-cuda"

pytestmark = pytest.mark.skipif(
    shutil.which("nix") is None, reason="nix is not on PATH; the lab has one"
)


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the Nix that the stages start have a store of its own."""
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)


def flake_of(
    directory: Path, variant: Variant = Variant.CPU, extra: str = "", *, unfree: bool = True
) -> FlakeRef:
    """Write a fleet of one machine, which accepts unfree licences or doesn't."""
    user = user_flake(directory, extra)
    if not unfree:
        file = user / "flake.nix"
        file.write_text(file.read_text().replace("allowUnfree = true", "allowUnfree = false"))
    choice = VariantChoice("carbon", variant, "tried")
    return FlakeRef(str(written(directory, user, choice)))


def test_a_machine_that_evaluates(tmp_path: Path) -> None:
    """Its system is named, and what it is built for is read from its derivation."""
    shell, flake = LocalShell(), flake_of(tmp_path)
    finding, derivation = asyncio.run(check_machine(shell, flake, "carbon"))
    assert finding.state is State.OK
    assert "nixos-system" in finding.detail
    assert derivation is not None
    assert asyncio.run(system_of(shell, derivation)) == SYSTEM


def test_a_machine_that_does_not(tmp_path: Path) -> None:
    """Nix's last error is the one line, and the machine is no good."""
    flake = flake_of(tmp_path, extra='environment.systemPackages = throw "no such luck";')
    finding, derivation = asyncio.run(check_machine(LocalShell(), flake, "carbon"))
    assert (finding.kind, finding.state, finding.detail) == (
        Kind.MACHINE,
        State.FAILED,
        "no such luck",
    )
    assert finding.command
    assert not finding.is_good
    assert derivation is None


def test_failed_assertions_are_told(tmp_path: Path) -> None:
    """A message that begins on the line after `error:` is the one line as well."""
    assertion = 'assertions = [ { assertion = false; message = "carbon has no key"; } ];'
    flake = flake_of(tmp_path, extra=assertion)
    finding, _ = asyncio.run(check_machine(LocalShell(), flake, "carbon"))
    assert finding.detail == "Failed assertions: - carbon has no key"


def test_a_machine_whose_variant_needs_a_licence(tmp_path: Path) -> None:
    """A machine that is to run CUDA and refuses its licence fails the check."""
    flake = flake_of(tmp_path, Variant.CUDA, unfree=False)
    finding, _ = asyncio.run(check_machine(LocalShell(), flake, "carbon"))
    assert finding.state is State.NEEDS_UNFREE
    assert finding.detail.startswith("needs unfree: ")
    assert finding.detail.endswith("(CUDA EULA)")
    assert not finding.is_good


def test_a_variant_tells_every_package_to_accept(tmp_path: Path) -> None:
    """All that CUDA needs is said at once, and accepting just that makes it evaluate."""
    (tmp_path / "refusing").mkdir()
    refusing = flake_of(tmp_path / "refusing", unfree=False)
    finding = asyncio.run(check_package(LocalShell(), refusing, SYSTEM, CUDA))
    assert finding.state is State.NEEDS_UNFREE
    assert finding.is_good
    for package in ("cccl", "cuda_cudart", "cuda_nvcc", "libcublas"):
        assert f'"{package}"' in finding.hint

    accepting = finding.hint.rpartition("configuration: ")[2]
    text = accepting.replace("lib.getName package", "package.pname")
    (tmp_path / "accepting").mkdir()
    flake = flake_of(tmp_path / "accepting", extra=text, unfree=False)
    assert asyncio.run(check_package(LocalShell(), flake, SYSTEM, CUDA)).state is State.OK


def test_every_variant_of_a_system(tmp_path: Path) -> None:
    """The flake itself says which variants there are, and each evaluates."""
    shell, flake = LocalShell(), flake_of(tmp_path)
    names = asyncio.run(package_names(shell, flake, SYSTEM))
    assert {variant.attribute for variant in Variant} <= set(names)

    async def check() -> set[State]:
        return {(await check_package(shell, flake, SYSTEM, name)).state for name in names}

    assert asyncio.run(check()) == {State.OK}


def test_overlays_are_applied(tmp_path: Path) -> None:
    """Each overlay of a machine is told by what it defines; a broken one by its error."""
    (tmp_path / "good").mkdir()
    (tmp_path / "bad").mkdir()
    overlays = "nixpkgs.overlays = [ (final: prev: { mine = prev.hello or 1; }) %s ];"
    good = flake_of(tmp_path / "good", extra=overlays % "(_: _: { a = 1; b = 2; })")
    bad = flake_of(tmp_path / "bad", extra=overlays % '(_: throw "not an overlay")')
    applied = asyncio.run(check_overlays(LocalShell(), good, "carbon"))
    refused = asyncio.run(check_overlays(LocalShell(), bad, "carbon"))
    assert applied.detail == "2: mine; a, b"
    assert (refused.state, refused.detail) == (State.FAILED, "not an overlay")


OLDER = (
    "error: Package \u2018cuda_nvcc-12.8.93\u2019 in /nix/store/x/overrides.nix:33 has an unfree "
    "license (\u2018CUDA EULA\u2019), refusing to evaluate."
)
NEWER = (
    "error: Refusing to evaluate package 'cuda_nvcc-12.8.93' in /nix/store/x/overrides.nix:33 "
    "because it has an unfree license (\u2018CUDA EULA\u2019)"
)


OURS = (
    "error: the licence of CUDA (CUDA EULA) is not accepted: set orchestrate_accept_licences: "
    "[cuda] for the whole fleet"
)


@pytest.mark.parametrize(
    ("words", "package", "hint"),
    [
        (OLDER, "cuda_nvcc", '[ "cuda_nvcc" ]'),
        (NEWER, "cuda_nvcc", '[ "cuda_nvcc" ]'),
        (OURS, "CUDA", "set orchestrate_accept_licences: [cuda]"),
    ],
)
def test_every_wording_of_a_refusal_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, package: str, hint: str
) -> None:
    """Nixpkgs said it otherwise before, and our overlay does; the hint says what to allow."""
    program = tmp_path / "nix"
    program.write_text(f'#!/bin/sh\ncat >&2 <<"END"\n{words}\nEND\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    finding, _ = asyncio.run(check_machine(LocalShell(), FlakeRef("/flake"), "carbon"))
    assert finding.detail == f"needs unfree: {package} (CUDA EULA)"
    assert hint in finding.hint
