"""The smoke test's model: checked before anything is touched, then brought to the host."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import UsageError
from orchestrator.model.stage import Stage
from orchestrator.scripts import answer_of, read, script
from orchestrator.transport.shell import CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable

    from inventory.host import Smoke
    from orchestrator.transport.shell import Shell


MODEL_DIRECTORY = "/var/lib/orchestrate/models"
"""Where models are kept on a target, named by their hash."""

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_HINT = "set orchestrate_smoke_model to a GGUF file"


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A GGUF file on the controller, read and found to be one."""

    path: Path
    size: int
    sha256: str

    @property
    def remote_path(self) -> str:
        """Where it is on a target: its hash and its own name."""
        return f"{MODEL_DIRECTORY}/{self.sha256[:16]}-{self.path.name}"


def model_path(smoke: Smoke) -> Path:
    """Return the model's file: the inventory's, or the tiny one that comes with us."""
    if smoke.model is not None:
        return Path(smoke.model)
    return Path(str(files("orchestrator.stages.smoke").joinpath("tiny.gguf")))


def read_model(path: Path) -> ModelFile:
    """Check that a file is a GGUF model, and hash it.

    The layout is ggml's docs/gguf.md: magic, version, tensor count, all little
    endian.

    Raises:
        UsageError: it can't be read, or isn't a model that llama.cpp loads.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    return _read(path, found.st_size, found.st_mtime_ns)


@cache
def _read(path: Path, size: int, _mtime_ns: int) -> ModelFile:
    """Read a model once, and again when it has changed: workers live long."""
    try:
        with path.open("rb") as file:
            head = file.read(16)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(head) < 16 or head[:4] != _MAGIC:  # noqa: PLR2004 - the fixed part of the header
        message = f"the smoke test's model {path} is not a GGUF file"
        raise UsageError(message, hint=_HINT, stage=Stage.SMOKE_MODEL)
    version, tensors = struct.unpack("<IQ", head[4:16])
    if version not in _VERSIONS or tensors == 0:
        message = f"the smoke test's model {path} is GGUF version {version} with {tensors} tensors"
        raise UsageError(message, hint=_HINT, stage=Stage.SMOKE_MODEL)
    return ModelFile(path, size, digest)


def _unreadable(path: Path, error: OSError) -> UsageError:
    message = f"can't read the smoke test's model {path}: {error.strerror}"
    return UsageError(message, hint=_HINT, stage=Stage.SMOKE_MODEL)


async def deliver_model(shell: Shell, model: ModelFile, on_bytes: Callable[[int], None]) -> bool:
    """Make sure that a host has the model; return whether it had to travel.

    It arrives under another name and gets its own once its hash is right, so a
    broken transfer is never taken for the model.

    Raises:
        CommandError: the host can't store it.
    """
    path = model.remote_path
    present = await shell.run(script("stages/smoke/has_model.sh", path=path))
    if read(present).get("size") == str(model.size):
        return False
    receive = script("stages/smoke/receive_model.sh", path=path, sha256=model.sha256)
    take = shell.as_root(receive)
    async with shell.open(take) as stream:
        await stream.write(take.stdin or b"")
        sent = 0
        with model.path.open("rb") as file:
            while chunk := file.read(CHUNK):
                await stream.write(chunk)
                sent += len(chunk)
                on_bytes(sent)
        await stream.close_input()
        done = await stream.finish()
        answer_of(done, Stage.SMOKE_MODEL, "the smoke test's model can't be stored there")
    return True
