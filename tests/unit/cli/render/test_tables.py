"""How a run ended, in lines: one a host, and why one isn't well."""

from __future__ import annotations

from orchestrator.cli.render.tables import explained, summary
from orchestrator.errors import Failure
from orchestrator.model.report import HostResult, Outcome, Verdict
from orchestrator.model.variant import Backend, Variant
from tests.plans import output

HOSTILE = "\x1b[2J\x1b]0;title\x07\r\x9b31m\u202eevil\u2028line\x00\x7f\x85end"


def test_the_summary_is_a_table() -> None:
    """One row a host with its change of system, and below it why a host isn't well."""
    ended = {
        "carbon": HostResult(
            Outcome.DEPLOYED,
            Variant.CUDA,
            Backend.CUDA,
            123.4,
            output("old"),
            output("new").replace("0000", "1111"),  # type: ignore[arg-type]
        ),
        "boron": HostResult(
            Outcome.FAILED, Variant.CPU, verdict=Verdict.NEEDS_REPAIR, message=f"{HOSTILE}\nmore"
        ),
        "neon": HostResult(Outcome.UNREACHABLE, message="\n"),
    }
    text = summary(ended)
    assert all(char.isprintable() or char == "\n" for char in text)
    lines = text.splitlines()
    assert lines[0].split() == ["host", "outcome", "variant", "backend", "tokens/s", "system"]
    assert lines[1].split() == [
        "carbon",
        "deployed",
        "cuda",
        "CUDA",
        "123.4",
        "00000000",
        "→",
        "11111111",
    ]
    assert "failed (needs manual repair)" in lines[2]
    assert lines[5].startswith("boron: ")
    assert lines[6].startswith("neon: ")


def test_a_failure_says_where() -> None:
    """Its stage stands in front of its message, and its host if that is another one."""
    mine = Failure("no answer", host="carbon", stage="connect")
    left_out = HostResult(Outcome.UNREACHABLE, message="no answer", failure=mine)
    assert explained("carbon", left_out) == "connect: no answer"
    assert explained("boron", left_out) == "carbon: connect: no answer"
    assert "carbon: connect: no answer" in summary({"carbon": left_out}).splitlines()
    more = HostResult(Outcome.FAILED, message="no answer; rollback: no answer", failure=mine)
    assert explained("carbon", more) == more.message
