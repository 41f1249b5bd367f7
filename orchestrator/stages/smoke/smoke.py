"""Smoke: the installed llama-cli answers with a real model, on the right backend.

An exit code proves little: a build without its GPU backend falls back to the
CPU and exits with 0. So the variant declares the backend, and llama-cli's own
log has to show that the model's layers went there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.command import last_lines
from orchestrator.errors import UnreachableError
from orchestrator.model.report import Fault, SmokeReport
from orchestrator.model.stage import Stage
from orchestrator.model.variant import Backend
from orchestrator.scripts import shipped
from orchestrator.transport.shell import LOST

if TYPE_CHECKING:
    from inventory.host import Smoke
    from orchestrator.command import Command, CommandResult
    from orchestrator.model.store import StorePath
    from orchestrator.stages.smoke.model import ModelFile
    from orchestrator.transport.shell import Shell


_TIMED_OUT = (124, 137)
_MARGIN = 30.0

_KEY_VALUE = re.compile(r"^(llama_cli|exit_code|log|last)=(.*)$", re.MULTILINE)
_DEVICE = re.compile(r"using device (\S+) \((.+?)\)(?: \([^()]*\))? - \d+ MiB free")
_OFFLOADED = re.compile(r"offloaded (\d{1,6})/(\d{1,6}) layers to GPU", re.ASCII)
_ASSIGNED = re.compile(r"load_tensors: layer +\d+ assigned to device (\w+)")
_FIGURE = r"(\d{1,12}(?:\.\d{1,6})?)"
_SPEED = re.compile(rf"\[ Prompt: {_FIGURE} t/s \| Generation: {_FIGURE} t/s \]", re.ASCII)
_PERF = re.compile(rf"(prompt )?eval time =.*?, +{_FIGURE} tokens per second\)", re.ASCII)
_EXIT_CODE = re.compile(r"[0-9]{1,3}", re.ASCII)
_NOT_FOUND = 127
_ILLEGAL_INSTRUCTION = 132


@dataclass(frozen=True, slots=True)
class Observation:
    """What smoke.sh saw, before anyone judges it."""

    llama_cli: str
    exit_code: int
    log: tuple[str, ...]
    last: tuple[str, ...]
    stdout: str = field(repr=False)

    @property
    def device(self) -> str:
        """The last device that llama-cli said it uses, with its description."""
        found = [f"{match[1]}: {match[2]}" for match in map(_DEVICE.search, self.log) if match]
        return found[-1] if found else ""

    @property
    def backend(self) -> Backend | None:
        """The backend that the model's layers were put on; None where it doesn't say.

        Layers are assigned twice: a first pass only measures, the last counts.
        """
        devices = [match[1] for match in map(_ASSIGNED.search, self.log) if match]
        if not devices:
            return None
        gpus = [device for device in devices if device != "CPU"]
        if not gpus or self.offloaded_layers == 0:
            return Backend.CPU
        return _backend_of(gpus[-1])

    @property
    def offloaded_layers(self) -> int:
        """How many layers went to a GPU; 0 where none did."""
        found = [int(match[1]) for match in map(_OFFLOADED.search, self.log) if match]
        return found[-1] if found else 0

    @property
    def speeds(self) -> tuple[float | None, float | None]:
        """Tokens per second of prompt processing and of generation."""
        if found := _SPEED.search(self.stdout):
            return float(found[1]), float(found[2])
        matches = [match for match in map(_PERF.search, self.log) if match]
        prompt = [float(match[2]) for match in matches if match[1]]
        generated = [float(match[2]) for match in matches if not match[1]]
        return (prompt[-1] if prompt else None), (generated[-1] if generated else None)

    def answer(self, prompt: str) -> str:
        """What the model said: between the echoed prompt and the figures."""
        said = self.stdout
        if (start := said.rfind(prompt)) >= 0:
            said = said[start + len(prompt) :]
        if found := _SPEED.search(said):
            said = said[: found.start()]
        return "".join(char for char in said if char.isprintable() or char in "\n\t").strip()


def smoke_command(model: str, smoke: Smoke) -> Command:
    """Give the command that runs the smoke with a model file on the host."""
    seconds = f"{smoke.timeout:g}"
    # The script ends llama-cli itself; ours is the net under it.
    timeout = smoke.timeout + _MARGIN
    arguments = (model, smoke.prompt, str(smoke.tokens), seconds)
    return shipped("smoke/smoke.sh", *arguments, timeout=timeout)


async def run_smoke(
    shell: Shell,
    model: ModelFile,
    smoke: Smoke,
    expected: Backend | None,
    package: StorePath | None,
) -> SmokeReport:
    """Run the smoke with a model that is on the host already, and judge it.

    It runs as root where it can: a GPU's device files are not everybody's.

    Raises:
        UnreachableError: the connection broke; nothing is known of the system.
    """
    command = smoke_command(model.remote_path, smoke)
    result = await shell.run_as_root(command)
    if result.returncode == LOST:
        raise UnreachableError(
            message="the connection broke during the smoke",
            hint="check its network; it goes back by itself when nobody confirms",
            host=shell.host,
            stage=Stage.SMOKE,
        )
    return judge(result, smoke, expected, package)


def judge(
    result: CommandResult, smoke: Smoke, expected: Backend | None, package: StorePath | None
) -> SmokeReport:
    """Decide whether a smoke passed. Pure.

    Args:
        result: what smoke.sh printed.
        smoke: what was asked, and what is expected of the answer.
        expected: the backend that must have done it; None for any.
        package: the store path that llama-cli must come from; None for any.
    """
    seen = observe(result.stdout)
    failure, fault = failure_of(result, seen, smoke, expected, package) or ("", None)
    prompt_speed, speed = seen.speeds
    return SmokeReport(
        host=result.host,
        passed=not failure,
        backend=seen.backend,
        device=seen.device,
        tokens_per_second=speed,
        prompt_tokens_per_second=prompt_speed,
        text=seen.answer(smoke.prompt)[:500],
        failure=failure,
        last_lines=() if not failure else seen.last or last_lines(result.stderr),
        fault=fault,
    )


def failure_of(
    result: CommandResult,
    seen: Observation,
    smoke: Smoke,
    expected: Backend | None,
    package: StorePath | None,
) -> tuple[str, Fault] | None:
    """Say the first thing that is wrong, in words for the user, and what it speaks against.

    Who answers too late or too slowly may be a small machine: that is no proof
    against the package. None where nothing is wrong.
    """
    if result.returncode != 0:
        return f"the smoke itself failed (exit code {result.returncode})", Fault.HOST
    speed = seen.speeds[1]
    slowest = smoke.min_tokens_per_second
    late = f"no answer within {smoke.timeout:g} seconds"
    complaints = (
        (seen.exit_code == _NOT_FOUND, "the system has no llama-cli", Fault.SYSTEM),
        (
            package is not None and not seen.llama_cli.startswith(f"{package}/"),
            f"the installed llama-cli is another one: {seen.llama_cli or 'none'}",
            Fault.SYSTEM,
        ),
        (seen.exit_code in _TIMED_OUT, late, Fault.SYSTEM),
        (
            seen.exit_code == _ILLEGAL_INSTRUCTION,
            "llama-cli was built for another CPU: illegal instruction",
            Fault.PACKAGE,
        ),
        (seen.exit_code != 0, f"llama-cli exited with {seen.exit_code}", Fault.PACKAGE),
        (speed is None, "llama-cli ended without an inference", Fault.PACKAGE),
        (not seen.answer(smoke.prompt), "the model said nothing", Fault.PACKAGE),
        (
            expected is not None and seen.backend is not expected,
            f"it ran on {seen.backend or 'an unknown backend'}, not on {expected}",
            Fault.PACKAGE,
        ),
        (
            smoke.expect is not None and smoke.expect not in seen.answer(smoke.prompt),
            f"the answer does not contain {smoke.expect!r}",
            Fault.PACKAGE,
        ),
        (
            speed is not None and slowest is not None and speed < slowest,
            f"{speed} tokens per second are fewer than the {slowest} asked for",
            Fault.SYSTEM,
        ),
    )
    return next(((message, fault) for wrong, message, fault in complaints if wrong), None)


def observe(output: str) -> Observation:
    """Read smoke.sh's output; what isn't there stays empty and fails the judgement."""
    head, _, answer = output.partition("\nanswer=\n")
    found: dict[str, list[str]] = {"llama_cli": [], "exit_code": [], "log": [], "last": []}
    for key, value in _KEY_VALUE.findall(head):
        found[key].append(value)
    code = (found["exit_code"] or [""])[0]
    return Observation(
        llama_cli=(found["llama_cli"] or [""])[0],
        exit_code=int(code) if _EXIT_CODE.fullmatch(code) else -1,
        log=tuple(found["log"]),
        last=last_lines("\n".join(found["last"])),
        stdout=answer,
    )


def _backend_of(device: str) -> Backend | None:
    name = device.rstrip("0123456789")
    return next((backend for backend in Backend if backend.value == name), None)
