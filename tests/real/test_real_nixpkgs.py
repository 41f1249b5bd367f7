"""What is generated also holds on the real nixpkgs, with the real llama.cpp flake.

`ORCHESTRATE_NIXPKGS` and `ORCHESTRATE_LLAMA_CPP` name git checkouts. Nothing is
built: a derivation that instantiates is what there is to see without a cache.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from inventory.host import Connection, Fleet, Host, Inventory, Licence
from orchestrator.model.boot_part import BootPart
from orchestrator.model.plan import Evaluation, FlakeRef
from orchestrator.model.variant import Variant, VariantChoice
from orchestrator.stages.evaluate.evaluate import evaluate
from orchestrator.stages.flake.flake import flake_url, write_flake
from orchestrator.transport.shell import LocalShell
from tests.lab.fleet_flake import track
from tests.unit.stages.flake.test_template import derivations, environment, nix

NIXPKGS = os.environ.get("ORCHESTRATE_NIXPKGS", "")
LLAMA_CPP = os.environ.get("ORCHESTRATE_LLAMA_CPP", "")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(
        not (NIXPKGS and LLAMA_CPP),
        reason="ORCHESTRATE_NIXPKGS and ORCHESTRATE_LLAMA_CPP name no checkouts",
    ),
]

# A container needs no disks and no boot loader; boron has a kernel of its own. Their
# manuals would need Haskell.
USER_FLAKE = """
{
  inputs.nixpkgs.url = "@nixpkgs@";
  outputs = { nixpkgs, ... }:
    let
      machine = module: nixpkgs.lib.nixosSystem {
        modules = [
          module
          {
            nixpkgs.hostPlatform = "x86_64-linux";
            documentation.enable = false;
            system.stateVersion = "25.11";
          }
        ];
      };
    in
    {
      nixosConfigurations.carbon = machine {
        boot.isContainer = true;
        networking.hostName = "carbon";
      };
      nixosConfigurations.boron = machine {
        boot.loader.systemd-boot.enable = true;
        fileSystems."/" = { device = "/dev/sda1"; fsType = "ext4"; };
        networking.hostName = "boron";
      };
    };
}
"""

MACHINE = "path:{}#orchestrate.carbon"


@dataclass(frozen=True)
class Real:
    """A store of these tests' own, and the user's flake on the real nixpkgs."""

    directory: Path
    user: Path

    def write(self, name: str, choice: VariantChoice | None) -> Path:
        """Write the wrapper around the user's flake for one choice."""
        hosts = tuple(Host(name, Connection(name), nixos_name=name) for name in ("carbon", "boron"))
        fleet = Fleet(flake=str(self.user), llama_cpp=LLAMA_CPP, accept_licences=(Licence.CUDA,))
        inventory = Inventory("inventory.yml", hosts, {}, fleet)
        return write_flake(self.directory / name, inventory, [choice] if choice else [])


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Real:
    """Give one store for all, for nixpkgs is copied into it once."""
    directory = tmp_path_factory.mktemp("real")
    user = directory / "user"
    user.mkdir()
    text = USER_FLAKE.replace("@nixpkgs@", flake_url(NIXPKGS))
    (user / "flake.nix").write_text(text)
    track(user)
    return Real(directory, user)


def test_a_machine_without_a_variant_keeps_its_very_derivation(real: Real) -> None:
    """The wrapper around nothing changes nothing of a real NixOS system."""
    flake = real.write("plain", None)
    own = f"path:{real.user}#nixosConfigurations.carbon.config.system.build.toplevel"
    ours, theirs = derivations(real.directory, f"{MACHINE.format(flake)}.toplevel", own)
    assert ours == theirs


def test_a_machine_gets_the_package_of_its_variant(real: Real) -> None:
    """A real NixOS system with a variant is another one, and has the package in it."""
    flake = real.write("cpu", VariantChoice("carbon", Variant.CPU, "tried"))
    machine = MACHINE.format(flake)
    toplevel, llama = derivations(real.directory, f"{machine}.toplevel", f"{machine}.llama")
    assert "nixos-system-carbon" in toplevel
    assert "llama-cpp" in llama


def test_a_machine_tells_its_kernel_initrd_and_modules(
    real: Real, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is compared before a build is in the system's own build script; a container has none."""
    for name, value in environment(real.directory).items():
        monkeypatch.setenv(name, value)

    def made(host: str) -> Evaluation:
        flake = FlakeRef(str(real.write(host, VariantChoice(host, Variant.CPU, "tried"))))
        answer = asyncio.run(evaluate(LocalShell(), flake, [host], 1))[host]
        assert isinstance(answer, Evaluation), answer
        return answer

    assert made("carbon").boot_parts == {}
    boron = made("boron")
    assert set(boron.boot_parts) == set(BootPart)
    done = nix(real.directory, "derivation", "show", str(boron.toplevel_drv))
    for part, path in boron.boot_parts.items():
        assert f"ln -s {path}" in done.stdout, part


@pytest.mark.parametrize("variant", Variant)
def test_every_variant_instantiates(real: Real, variant: Variant) -> None:
    """Each variant's package instantiates, CUDA's with only its own licence accepted."""
    flake = real.write("cpu", VariantChoice("carbon", Variant.CPU, "tried"))
    package = f"path:{flake}#packages.x86_64-linux.{variant.attribute}"
    (drv,) = derivations(real.directory, package)
    assert "llama-cpp" in drv
