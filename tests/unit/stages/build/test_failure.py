"""Whose fault a failed build is, from what Nix said."""

from __future__ import annotations

import pytest

from orchestrator.stages.build.failure import trouble_of_builder

# As Nix 2.26 and 2.34 print them.
TRULY_FAILED = (
    (100, "error: builder for '/nix/store/x-a.drv' failed with exit code 1;"),
    (100, "error: Cannot build '/nix/store/x-a.drv'. Reason: builder failed with exit code 1."),
    (1, "error: builder for '/nix/store/x-a.drv' failed with exit code 2;"),
    (102, "error: hash mismatch in fixed-output derivation '/nix/store/x-a.drv':"),
)
OF_THE_BUILDER = (
    (100, "error: writing to file: No space left on device", "full"),
    (100, "error: builder for '/nix/store/x-a.drv' failed due to signal 9 (Killed)", "killed"),
    (100, "g++: fatal error: Killed signal terminated program cc1plus", "memory"),
    (1, "error: cannot connect to socket at '/nix/var/nix/daemon-socket/socket'", "daemon"),
    (1, "error: unexpected end-of-file", "daemon"),
    (137, "", "killed"),
    (1, "error: path '/nix/store/x-a.drv' is not valid", "ended with 1"),
)


@pytest.mark.parametrize(("code", "line"), TRULY_FAILED)
def test_a_build_that_fails_everywhere_is_no_builders_fault(code: int, line: str) -> None:
    """What the derivation itself does wrong is not tried elsewhere."""
    assert trouble_of_builder(code, ("building", line)) == ""


@pytest.mark.parametrize(("code", "line", "word"), OF_THE_BUILDER)
def test_trouble_of_the_place_moves_the_work(code: int, line: str, word: str) -> None:
    """A full disk, short memory, a kill or a dead daemon say nothing of the derivation."""
    assert word in trouble_of_builder(code, ("building", line))
