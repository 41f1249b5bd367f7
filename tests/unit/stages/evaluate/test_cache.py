"""What Nix made of a flake is remembered for as long as the flake is the same."""

from __future__ import annotations

import asyncio
import json
import shutil
from typing import TYPE_CHECKING

import pytest

from orchestrator.errors import PayloadError
from orchestrator.model.boot_part import BootPart
from orchestrator.model.plan import Evaluation, FlakeRef
from orchestrator.model.store import DerivationPath, StorePath
from orchestrator.model.variant import Variant, VariantChoice
from orchestrator.stages.evaluate.cache import (
    fingerprint,
    is_pinned,
    read_evaluations,
    recall,
    save_evaluations,
)
from orchestrator.stages.evaluate.evaluate import evaluate, lock_flake, parse_answer
from orchestrator.transport.shell import LocalShell
from tests.unit.stages.flake.test_template import environment, user_flake, written

if TYPE_CHECKING:
    from pathlib import Path

HASH = "0" * 32
CARBON = Evaluation(
    "carbon",
    DerivationPath(f"/nix/store/{HASH}-system.drv"),
    StorePath(f"/nix/store/{HASH}-system"),
    None,
    None,
)
SHELL = LocalShell()

needs_nix = pytest.mark.skipif(shutil.which("nix") is None, reason="nix is not on PATH")


def lock(**inputs: dict[str, str]) -> str:
    """Give a flake.lock of these inputs."""
    nodes = {name: {"locked": locked} for name, locked in inputs.items()}
    return json.dumps({"nodes": {"root": {"inputs": {}}, **nodes}, "root": "root", "version": 7})


def test_only_a_lock_of_contents_counts() -> None:
    """Where one input isn't named by its content, the flake may be another one tomorrow."""
    pinned, loose = {"narHash": "sha256-x", "type": "git"}, {"type": "git"}
    assert is_pinned(lock(user=pinned, nixpkgs=pinned))
    assert not is_pinned(lock(user=loose, nixpkgs=pinned))


def test_a_content_addressed_system_is_said_to_be_one() -> None:
    """Nix gives a placeholder for where it will be, which is no store path."""
    out = "/1rz4g4znpzjwh1xymhjpm42vipw92pr73vdgl6xs1hycac8kf2n9"
    paths = {"drv": f"/nix/store/{HASH}-x.drv", "out": out}
    text = json.dumps({"toplevel": paths, "llama": paths, "boot": {}, "inhibitors": {}})
    with pytest.raises(PayloadError, match="it is content-addressed"):
        parse_answer("carbon", text)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"nodes": [], "root": "root"}', lock()])
def test_no_lock_is_none(text: str) -> None:
    """A lock file that isn't one pins nothing."""
    assert not is_pinned(text)


def test_what_was_kept_is_read_again(tmp_path: Path) -> None:
    """The file is made with its directory, and a flake without a name is not kept."""
    file = tmp_path / "project" / "evaluated.json"
    save_evaluations(file, "", {"carbon": CARBON})
    assert read_evaluations(file) is None
    save_evaluations(file, "mark", {"carbon": CARBON})
    found = read_evaluations(file)
    assert found is not None
    assert (found.fingerprint, found.hosts) == ("mark", {"carbon": CARBON})


@pytest.mark.parametrize("damage", [(HASH, "../../etc"), ('"carbon"', "7"), ("mark", '"')])
def test_a_damaged_file_is_nothing(tmp_path: Path, damage: tuple[str, str]) -> None:
    """What names no store path, or isn't what was written, is evaluated anew."""
    file = tmp_path / "evaluated.json"
    save_evaluations(file, "mark", {"carbon": CARBON})
    file.write_text(file.read_text().replace(*damage))
    assert read_evaluations(file) is None


def test_an_answer_is_read() -> None:
    """Systems and packages must be store paths; a kernel that is none isn't known."""
    drv, out = f"/nix/store/{HASH}-x.drv", f"/nix/store/{HASH}-x"
    paths = {"drv": drv, "out": out}
    boot = {"kernel": out, "initrd": None, "kernel-modules": "/lib/modules", "moon": out}
    text = json.dumps({"toplevel": paths, "llama": paths, "boot": boot, "inhibitors": {"a": "b"}})
    parts = {BootPart.KERNEL: StorePath(out)}
    drv, out = DerivationPath(drv), StorePath(out)
    assert parse_answer("carbon", text) == Evaluation(
        "carbon", drv, out, drv, out, parts, {"a": "b"}
    )


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"toplevel": {"drv": "x", "out": "x"}}'])
def test_another_answer_is_refused(text: str) -> None:
    """What the flake doesn't say is an error of this host."""
    with pytest.raises(PayloadError, match="what the flake makes of it") as raised:
        parse_answer("carbon", text)
    assert raised.value.host == "carbon"


def test_another_flake_is_not_recalled(tmp_path: Path) -> None:
    """Neither what is known of another state of the flake, nor of one without a name."""
    file = tmp_path / "evaluated.json"
    save_evaluations(file, "mark", {"carbon": CARBON})
    assert asyncio.run(recall(SHELL, file, "other")) == {}
    assert asyncio.run(recall(SHELL, file, "")) == {}


@needs_nix
def test_an_evaluation_holds_until_the_flake_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same flake is recalled; a change of the user's or a lost derivation is not."""
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    user = user_flake(tmp_path)
    flake = FlakeRef(str(written(tmp_path, user, VariantChoice("carbon", Variant.CPU, "tried"))))
    file = tmp_path / "evaluated.json"

    async def marked() -> str:
        await lock_flake(SHELL, flake, ("user",))
        return await fingerprint(SHELL, flake)

    async def play() -> None:
        mark = await marked()
        made = (await evaluate(SHELL, flake, ["carbon"], 1))["carbon"]
        assert isinstance(made, Evaluation)
        save_evaluations(file, mark, {"carbon": made})
        assert await marked() == mark
        assert await recall(SHELL, file, mark) == {"carbon": made}
        with (user / "flake.nix").open("a") as text:
            text.write("# of another content\n")
        changed = await marked()
        assert changed not in ("", mark)
        assert await recall(SHELL, file, changed) == {}
        monkeypatch.setenv("NIX_REMOTE", f"local?root={tmp_path / 'collected'}")
        assert await recall(SHELL, file, mark) == {}

    asyncio.run(play())
