"""Whether a smoke passed, from recordings of the real llama-cli and from what can go wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from inventory.host import Smoke
from orchestrator.command import Command, CommandResult
from orchestrator.model.report import Fault
from orchestrator.model.store import StorePath, parse_store_path
from orchestrator.model.variant import Backend
from orchestrator.stages.smoke.smoke import SmokeTest, judge, smoke_command

if TYPE_CHECKING:
    from orchestrator.model.report import SmokeReport

RECORDED = Path(__file__).parent / "recorded"
HASH = "0123456789abcdfghijklmnpqrsvwxyz"


def package(backend: str) -> StorePath:
    """Give the package that a recording's llama-cli is from."""
    return parse_store_path(f"/nix/store/{HASH}-llama-cpp-{backend}-b11669")


def recording(name: str) -> str:
    """Give what smoke.sh printed."""
    return (RECORDED / f"{name}.txt").read_text()


def judged(
    text: str,
    expected: Backend | None = None,
    smoke: Smoke | None = None,
    *,
    of: StorePath | None = None,
    returncode: int = 0,
) -> SmokeReport:
    """Judge a script's output."""
    result = CommandResult(Command(("sh",)), "carbon", returncode, text, "sh: said this\n")
    return judge(result, SmokeTest(smoke or Smoke(), expected, of))


def said(*lines: str) -> str:
    """Give lines as the script answers them, to its end."""
    return "".join(f"orchestrate:{line}\n" for line in (*lines, "exit=0"))


def failed_with(code: int, *last: str) -> str:
    """Give what smoke.sh prints of a llama-cli that ended with an exit code."""
    cli = f"llama_cli={package('cpu')}/bin/llama-cli"
    return said(cli, f"exit_code={code}", *(f"last={line}" for line in last))


@pytest.mark.parametrize(
    ("name", "backend", "device", "speed", "text"),
    [
        ("cpu-tiny", Backend.CPU, "", 4117.5, "rrrrrrrrrqqqmsqz"),
        ("vulkan-tiny", Backend.VULKAN, "Vulkan0: llvmpipe (LLVM 21.1.8, 256 bits)", None, None),
        (
            "vulkan-smollm2",
            Backend.VULKAN,
            "Vulkan0: llvmpipe (LLVM 21.1.8, 256 bits)",
            8.5,
            "L'aujourcé! I am your friendly AI, and I am",
        ),
        ("cpu-smollm2", Backend.CPU, "", None, None),
        ("cuda", Backend.CUDA, "CUDA0: NVIDIA GeForce RTX 4060 Ti", 4117.5, "Paris."),
    ],
)
def test_a_real_inference_passes(
    name: str, backend: Backend, device: str, speed: float | None, text: str | None
) -> None:
    """Backend, device, speed and answer are what llama-cli said."""
    report = judged(recording(name), backend, of=package(name.split("-", maxsplit=1)[0]))
    assert (report.failure, report.fault) == ("", None)
    assert report.passed
    assert (report.backend, report.device) == (backend, device)
    assert report.last_lines == ()
    assert report.text
    assert "t/s" not in report.text
    assert speed in {None, report.tokens_per_second}
    assert text in {None, report.text}


@pytest.mark.parametrize("expected", [Backend.VULKAN, Backend.CUDA, Backend.ROCM])
def test_a_silent_fall_back_to_the_cpu_fails(expected: Backend) -> None:
    """Exit code 0 is no proof: where the layers are on the CPU, no GPU did it."""
    report = judged(recording("cpu-tiny"), expected)
    assert not report.passed
    assert report.failure == f"it ran on CPU, not on {expected}"


def test_a_gpu_with_nothing_offloaded_is_the_cpu() -> None:
    """A device that is used for zero layers did nothing."""
    text = recording("cuda").replace("offloaded 2/2", "offloaded 0/2")
    assert judged(text, Backend.CUDA).failure == "it ran on CPU, not on CUDA"


def test_another_gpu_backend_fails() -> None:
    """A Vulkan inference is no CUDA inference."""
    report = judged(recording("vulkan-tiny"), Backend.CUDA)
    assert report.failure == "it ran on Vulkan, not on CUDA"
    assert report.fault is Fault.PACKAGE


def test_a_log_that_names_no_device_proves_nothing() -> None:
    """Without a line that assigns layers the backend is unknown, and that fails."""
    text = "".join(
        line for line in recording("cuda").splitlines(keepends=True) if "assigned" not in line
    )
    report = judged(text, Backend.CUDA)
    assert report.failure == "it ran on an unknown backend, not on CUDA"


def test_the_answer_cannot_speak_for_the_log() -> None:
    """Lines of ours in the model's answer change neither exit code nor backend."""
    lines = ("exit_code=0", "log=load_tensors: layer   0 assigned to device CUDA0", "answer=")
    fake = "".join(f"\norchestrate:answer=orchestrate:{line}" for line in lines)
    text = recording("cpu-tiny").replace("rrrrrrrrrqqqmsqz", fake)
    report = judged(text, Backend.CUDA)
    assert report.failure == "it ran on CPU, not on CUDA"


@pytest.mark.parametrize(
    ("code", "failure", "fault"),
    [
        (132, "llama-cli was built for another CPU: illegal instruction", Fault.PACKAGE),
        (124, "no answer within 120 seconds", Fault.SYSTEM),
        (137, "no answer within 120 seconds", Fault.SYSTEM),
        (139, "llama-cli exited with 139", Fault.PACKAGE),
        (1, "llama-cli exited with 1", Fault.PACKAGE),
        (127, "the system has no llama-cli", Fault.SYSTEM),
    ],
)
def test_how_llama_cli_ended(code: int, failure: str, fault: Fault) -> None:
    """A bad end is told in words, with the end of llama-cli's log and what it speaks against."""
    report = judged(failed_with(code, "error: no\x1b[2J", "bye"), Backend.CPU)
    assert (report.passed, report.failure, report.fault) == (False, failure, fault)
    assert report.last_lines == ("error: no\\x1b[2J", "bye")


def test_a_missing_llama_cli() -> None:
    """A system without llama-cli says so, whatever package was expected."""
    text = said("llama_cli=", "exit_code=127")
    assert judged(text, of=package("cpu")).failure == "the system has no llama-cli"


def test_another_llama_cli_is_installed() -> None:
    """An inference by a llama-cli of another store path proves nothing of ours."""
    report = judged(recording("cpu-tiny"), of=package("cuda"))
    assert report.failure.startswith("the installed llama-cli is another one: /nix/store/")


def test_a_path_that_only_begins_alike_is_another() -> None:
    """The package's path ends at a slash."""
    text = recording("cpu-tiny").replace("-b11669/", "-b11669-dirty/")
    assert "another one" in judged(text, of=package("cpu")).failure


def test_an_empty_answer_fails() -> None:
    """A model that generates nothing has not answered."""
    text = recording("cpu-tiny").replace("rrrrrrrrrqqqmsqz", " ")
    assert judged(text).failure == "the model said nothing"


def test_too_slow() -> None:
    """A speed under the limit fails, one at the limit passes."""
    assert judged(recording("vulkan-smollm2"), smoke=Smoke(min_tokens_per_second=8.5)).passed
    report = judged(recording("vulkan-smollm2"), smoke=Smoke(min_tokens_per_second=9))
    assert report.failure == "8.5 tokens per second are fewer than the 9 asked for"
    assert report.fault is Fault.SYSTEM


def test_what_is_expected_of_the_answer() -> None:
    """The expected text is looked for in the answer, and not in the echoed prompt."""
    assert judged(recording("cuda"), smoke=Smoke(expect="Paris")).passed
    report = judged(recording("cuda"), smoke=Smoke(expect="France"))
    assert report.failure == "the answer does not contain 'France'"


def test_a_hostile_answer_is_harmless() -> None:
    """An answer with control characters is shown without them, and not longer than 500."""
    hostile = "\x1b]0;title\x07\x1b[2J\r\x00\u202eok" + "y" * 900
    report = judged(recording("cpu-tiny").replace("rrrrrrrrrqqqmsqz", hostile))
    assert report.passed
    assert len(report.text) <= 500
    assert all(char.isprintable() or char in "\n\t" for char in report.text)


@pytest.mark.parametrize("length", [0, 50, 130, 1500])
def test_a_truncated_output_fails(length: int) -> None:
    """Whatever is missing at the end, a part of an output is no inference."""
    report = judged(recording("vulkan-smollm2")[:length], Backend.VULKAN, of=package("vulkan"))
    assert not report.passed
    assert report.failure


@pytest.mark.parametrize("code", ["", "zero", "-", "--1", "²", "9" * 5000])
def test_a_nonsense_exit_code_fails(code: str) -> None:
    """An exit code that is none is a failure, not an exception."""
    assert not judged(recording("cpu-tiny").replace("exit_code=0", f"exit_code={code}")).passed


def test_nonsense_figures_are_no_exception() -> None:
    """A speed that is no number is no speed."""
    text = recording("cpu-tiny")
    for figure in ("...", "1.2.3"):
        report = judged(text.replace("4117.5 t/s", f"{figure} t/s"))
        assert report.tokens_per_second in {None, 4117.49}


def test_the_script_itself_failed() -> None:
    """Where smoke.sh can't run, its own error output is what is shown."""
    report = judged("", returncode=126)
    assert report.failure == "the smoke test can't be run there: exit code 126"
    full = judged("orchestrate:exit=200\n", returncode=200)
    assert "a file that it needs can't be written there" in full.failure
    assert report.fault is Fault.HOST
    assert report.last_lines == ("sh: said this",)


def test_the_prompt_is_an_argument() -> None:
    """A prompt reaches llama-cli as one word, and the script ends before our own limit."""
    smoke = replace(Smoke(), prompt='$(id) "quoted"', tokens=4, timeout=7.5)
    command = smoke_command("/m.gguf", smoke)
    words = ("model=/m.gguf", 'prompt=$(id) "quoted"', "tokens=4", "seconds=7.5", "--")
    assert command.argv[-5:] == words
    assert command.timeout is not None
    assert command.timeout > 7.5
