"""Smoke test: the installed llama-cli answers with a real model, on the right backend.

An exit code proves little: a build without its GPU backend falls back to the
CPU and exits with 0. So the variant declares the backend, and llama-cli's own
log has to show that the model's layers went there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from inventory.host import Smoke
from orchestrator.command import last_lines
from orchestrator.errors import UnreachableError
from orchestrator.model.report import Fault, SmokeReport
from orchestrator.model.stage import Stage
from orchestrator.model.store import StorePath
from orchestrator.model.variant import Backend
from orchestrator.scripts import ScriptExit, read, script
from orchestrator.stages.store_contents import damage
from orchestrator.transport.shell import LOST

if TYPE_CHECKING:
    from orchestrator.command import Command, CommandResult
    from orchestrator.model.guard import Guard
    from orchestrator.scripts import Answer
    from orchestrator.stages.smoke.model import ModelFile
    from orchestrator.transport.shell import Shell


_TIMED_OUT = (124, 137)
_MARGIN = 30.0

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
    damaged: str = ""

    @property
    def device(self) -> str:
        """The last device that llama-cli said it uses, with its description."""
        found = [f"{match[1]}: {match[2]}" for match in map(_DEVICE.search, self.log) if match]
        return found[-1] if found else ""

    @property
    def backend(self) -> Backend | None:
        """The backend that the model's layers were put on; None if it doesn't say.

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
        """How many layers went to a GPU; 0 if none did."""
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


def smoke_command(model: str, smoke: Smoke, tools: StorePath | None = None) -> Command:
    """Build the command that runs the smoke test with a model file on the host."""
    seconds = f"{smoke.timeout:g}"
    # The script ends llama-cli itself; ours is the net under it.
    timeout = smoke.timeout + _MARGIN
    return script(
        "stages/smoke/smoke.sh",
        shared="stages/smoke/damaged.sh",
        model=model,
        prompt=smoke.prompt,
        tokens=str(smoke.tokens),
        seconds=seconds,
        timeout=timeout,
        tools=tools,
    )


@dataclass(frozen=True, slots=True)
class SmokeTest:
    """What llama-cli is asked, and what must be true of its answer.

    Args:
        smoke: the question, and what the inventory expects.
        backend: the backend that must have done it; None for any.
        package: the store path that llama-cli must come from; None for any.
        tools: the system whose programs our script uses; None for those of the PATH.
    """

    smoke: Smoke
    backend: Backend | None = None
    package: StorePath | None = None
    tools: StorePath | None = None


async def run_smoke(shell: Shell, model: ModelFile, test: SmokeTest, guard: Guard) -> SmokeReport:
    """Run the smoke test with a model that is on the host already, and judge it.

    It runs as root if it can: a GPU's device files are not everybody's.

    Args:
        shell: the host.
        model: the model's file.
        test: what is asked, and expected.
        guard: what the host does by itself meanwhile.

    Raises:
        UnreachableError: the connection broke; nothing is known of the system.
    """
    command = smoke_command(model.remote_path, test.smoke, test.tools)
    result = await shell.run_as_root(command)
    if result.returncode == LOST:
        raise UnreachableError(
            message="the connection broke during the smoke test",
            hint=f"check its network; {guard.value}",
            host=shell.host,
            stage=Stage.SMOKE,
        )
    return judge(result, test)


def judge(result: CommandResult, test: SmokeTest) -> SmokeReport:
    """Decide whether a smoke test passed. Pure."""
    answer = read(result)
    seen = observe(answer)
    failure, fault = failure_of(result, answer, seen, test) or ("", None)
    prompt_speed, speed = seen.speeds
    return SmokeReport(
        host=result.host,
        passed=not failure,
        backend=seen.backend,
        device=seen.device,
        tokens_per_second=speed,
        prompt_tokens_per_second=prompt_speed,
        text=seen.answer(test.smoke.prompt)[:500],
        failure=failure,
        last_lines=() if not failure else seen.last or last_lines(result.stderr),
        fault=fault,
    )


def failure_of(
    result: CommandResult, answer: Answer, seen: Observation, test: SmokeTest
) -> tuple[str, Fault] | None:
    """Say the first thing that is wrong, in words for the user, and what it speaks against.

    A host that answers too late or too slowly may be a small machine: that is no proof
    against the package. None if nothing is wrong.
    """
    if answer.end is not ScriptExit.DONE:
        why = f"exit code {result.returncode}" if result.returncode else "its answer is cut off"
        why = answer.end.sentence if answer.end else why
        return f"the smoke test can't be run there: {why}", Fault.HOST
    if seen.damaged:
        return damage((seen.damaged,)), Fault.HOST
    complaints = _complaints(seen, test)
    return next(((message, fault) for wrong, message, fault in complaints if wrong), None)


def _complaints(seen: Observation, test: SmokeTest) -> tuple[tuple[bool, str, Fault], ...]:
    """Return all that can be wrong, whether it is, and what that speaks against."""
    smoke, expected, package = test.smoke, test.backend, test.package
    speed = seen.speeds[1]
    slowest = smoke.min_tokens_per_second
    late = f"no answer within {smoke.timeout:g} seconds"
    return (
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


def observe(answer: Answer) -> Observation:
    """Read what smoke.sh answered; what isn't there stays empty and fails the judgement."""
    code = answer.get("exit_code")
    return Observation(
        llama_cli=answer.get("llama_cli"),
        damaged=answer.get("damaged"),
        exit_code=int(code) if _EXIT_CODE.fullmatch(code) else -1,
        log=answer.every("log"),
        last=last_lines(answer.text("last")),
        stdout=answer.text("answer"),
    )


def _backend_of(device: str) -> Backend | None:
    name = device.rstrip("0123456789")
    return next((backend for backend in Backend if backend.value == name), None)
