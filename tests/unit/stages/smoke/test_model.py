"""The smoke's model is one that llama.cpp loads, and has one place on every host."""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING

import pytest

from inventory.host import Smoke
from orchestrator.errors import UsageError
from orchestrator.stages.smoke.model import MODEL_DIRECTORY, model_path, read_model
from tests.lab.models import TINY_SHA256, TINY_SIZE, tiny_model

if TYPE_CHECKING:
    from pathlib import Path


def header(magic: bytes = b"GGUF", version: int = 3, tensors: int = 12) -> bytes:
    """Give the fixed part of a GGUF file and a little after it."""
    return magic + struct.pack("<IQQ", version, tensors, 5) + b"rest"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not a GGUF file"),
        (header()[:15], "not a GGUF file"),
        (header(magic=b"GGML"), "not a GGUF file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "not a GGUF file"),
        (header(version=1), "version 1"),
        (header(version=3 << 24), "version 50331648"),
        (header(version=9), "version 9"),
        (header(tensors=0), "0 tensors"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    """A file that llama.cpp can't load is found before any host is touched."""
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=complaint) as caught:
        read_model(path)
    assert str(path) in caught.value.message
    assert "orchestrate_smoke_model" in caught.value.hint


def test_a_missing_model(tmp_path: Path) -> None:
    """A file that isn't there, or is a directory, is named."""
    for path in (tmp_path / "none.gguf", tmp_path):
        with pytest.raises(UsageError, match="can't read the smoke test's model"):
            read_model(path)


@pytest.mark.parametrize("version", [2, 3])
def test_a_model_is_known_by_its_hash(tmp_path: Path, version: int) -> None:
    """Size and hash are the file's, and its place on a host is made of hash and name."""
    path = tmp_path / "some model.gguf"
    path.write_bytes(header(version=version))
    model = read_model(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (model.size, model.sha256) == (len(header()), digest)
    assert model.remote_path == f"{MODEL_DIRECTORY}/{digest[:16]}-some model.gguf"


def test_a_changed_model_is_another(tmp_path: Path) -> None:
    """A file that was replaced is read anew."""
    path = tmp_path / "model.gguf"
    path.write_bytes(header())
    before = read_model(path)
    path.write_bytes(header() + b"more")
    assert read_model(path).sha256 != before.sha256


def test_the_bundled_model_is_made_from_its_source(tmp_path: Path) -> None:
    """tiny.gguf is what the lab's maker writes, bit for bit."""
    bundled = model_path(Smoke())
    assert bundled.read_bytes() == tiny_model(tmp_path / "tiny.gguf").read_bytes()
    model = read_model(bundled)
    assert (model.size, model.sha256) == (TINY_SIZE, TINY_SHA256)


def test_the_inventory_names_another() -> None:
    """A model of the inventory is taken instead of the bundled one."""
    assert str(model_path(Smoke(model="/models/own.gguf"))) == "/models/own.gguf"
