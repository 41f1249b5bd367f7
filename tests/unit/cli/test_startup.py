"""The start's tricks: each still gains something, and none reaches who imports a library of us."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest


def python(program: str) -> str:
    """Run a program in an interpreter of its own, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_structlog_still_imports_rich() -> None:
    """If it does no more, `quick_imports` hides rich for nothing: take that part out."""
    assert python("import sys, structlog; print('rich' in sys.modules)") == "True"
    quick = "from orchestrator.cli.startup import quick_imports"
    program = f"import sys; {quick}\nwith quick_imports(): pass\nprint('rich' in sys.modules)"
    assert python(program) == "False"


def test_rich_is_there_for_who_wants_it_later() -> None:
    """The live display imports rich after the quick imports, as if nothing had been."""
    program = (
        "from orchestrator.cli.startup import quick_imports\n"
        "with quick_imports(): pass\n"
        "from rich.live import Live\nprint(Live.__name__)"
    )
    assert python(program) == "Live"


def test_asyncssh_still_looks_for_libraries() -> None:
    """If it does no more, `quick_imports` replaces find_library for nothing: take that out."""
    program = (
        "import ctypes.util\nlooked = []\n"
        "ctypes.util.find_library = lambda name: looked.append(name)\n"
        "import asyncssh\nprint(sorted(set(looked)))"
    )
    assert python(program) != "[]"


def test_asyncssh_has_every_algorithm_that_a_login_uses() -> None:
    """What is kept from it are liboqs and nettle alone: our key exchange and ciphers are there."""
    program = (
        "from orchestrator.cli.startup import quick_imports\n"
        "with quick_imports():\n    import asyncssh\n"
        "from asyncssh.encryption import get_encryption_algs\n"
        "from asyncssh.kex import get_kex_algs\n"
        "print(b'aes256-gcm@openssh.com' in get_encryption_algs(),"
        " b'curve25519-sha256' in get_kex_algs())"
    )
    assert python(program) == "True True"


def test_python_still_looks_for_garbage_more_often() -> None:
    """If its own first threshold is as high as ours, `collect_less` is for nothing."""
    assert int(python("import gc; print(gc.get_threshold()[0])")) < 20_000


def test_a_command_ends_at_once_with_all_that_it_printed() -> None:
    """What is in a buffer comes out, and what the interpreter would do at its end is left out."""
    program = (
        "import atexit, sys\nfrom orchestrator.cli.startup import end_at_once\n"
        "atexit.register(lambda: print('taken apart'))\n"
        "sys.stdout.write('printed')\nend_at_once(3)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (3, "printed")


@pytest.mark.parametrize(
    "module",
    ["orchestrator", "inventory.read", "orchestrator.transport.connect", "orchestrator.cli.main"],
)
def test_importing_the_project_has_no_side_effect(module: str) -> None:
    """A program that imports it as a library keeps rich, find_library and its collector."""
    program = (
        "import ctypes.util, gc, sys\n"
        "before = (ctypes.util.find_library, gc.get_threshold(), sys.path[:])\n"
        f"import {module}\n"
        "assert before == (ctypes.util.find_library, gc.get_threshold(), sys.path)\n"
        "assert all(found is not None for found in sys.modules.values())\n"
        "import rich\nprint('as before')"
    )
    assert python(program) == "as before"
    assert gc.get_threshold()[0] > 0
