"""What a user reads of each end of each script, and that it is true of that moment."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from inventory.host import HealthCheck, Smoke
from orchestrator.command import Command, CommandResult
from orchestrator.errors import CommandError, StageError, UnreachableError
from orchestrator.model.guard import Guard
from orchestrator.scripts import ScriptExit, answer_of, read, script, text_of
from orchestrator.stages.activate.activation import Activation
from orchestrator.stages.activate.boot import make_boot_default
from orchestrator.stages.activate.confirm import confirm, disarm
from orchestrator.stages.activate.dry_activate import dry_activate
from orchestrator.stages.activate.reboot import reboot_for
from orchestrator.stages.activate.rollback import reactivate
from orchestrator.stages.activate.switch import await_switch, switch
from orchestrator.stages.build.build import stop_build
from orchestrator.stages.copy_closure.signature import sign
from orchestrator.stages.smoke.health_check import check_health
from orchestrator.stages.smoke.model import ModelFile
from orchestrator.stages.smoke.smoke import SmokeTest, run_smoke
from orchestrator.stages.store_contents import ask_store, looks_lacking
from orchestrator.transport.shell import LOST, TIMED_OUT, LocalShell
from tests.plans import derivation, output
from tests.unit.stages.test_scripts import RUN

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OLD, NEW = output("old"), output("new")
ACTIVATION = Activation(
    host="carbon",
    toplevel=NEW,
    previous=OLD,
    boot_default=OLD,
    run="one",
    confirm_timeout=180,
    way_back_timeout=120,
    boot_id="boot",
    reboot_as_last_resort=False,
    accept_failed_units=False,
    nixos_rebuild=None,
)
BY_ITSELF = "goes back to its old system by itself"
NOT_OURS = (1, 2, 100, 126, 127, 137, 143, 200, 201, 222)
"""What sudo, a program, a shell without the program, and a signal end with; and our own codes."""


@dataclass(frozen=True)
class Ending(LocalShell):
    """A host whose script ends with a code, having printed something."""

    code: int = 0
    printed: str = ""

    def run_as_root(self, command: Command) -> Any:  # noqa: ANN401 - a session
        """End as the test says."""
        return CommandResult(command, "carbon", self.code, self.printed, "")


@dataclass(frozen=True)
class EndingShell(Ending):
    """The same, for the stages that are asynchronous."""

    async def run(self, command: Command) -> CommandResult:
        """End as the test says."""
        return CommandResult(command, "carbon", self.code, self.printed, "")

    async def run_as_root(self, command: Command) -> CommandResult:
        """End as the test says."""
        return CommandResult(command, "carbon", self.code, self.printed, "")


def ended(end: int, *lines: str, code: int | None = None) -> Ending:
    """Give a host whose script says how it ended, and what else it answers."""
    said = "".join(f"orchestrate:{line}\n" for line in (*lines, f"exit={int(end)}"))
    return Ending("carbon", end if code is None else code, said)


STAGES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "switch.sh": ("the switch failed", lambda host: switch(host, ACTIVATION)),
    "await_switch.sh": ("the switch failed", lambda host: await_switch(host, ACTIVATION)),
    "confirm.sh": ("the confirmation failed", lambda host: confirm(host, ACTIVATION)),
    "disarm.sh": ("the confirmation failed", lambda host: disarm(host, ACTIVATION)),
    "boot.sh": (
        "the new system can't be made the boot default",
        lambda host: make_boot_default(host, ACTIVATION),
    ),
    "rollback.sh": (
        "the old system can't be activated",
        lambda host: reactivate(host, ACTIVATION, OLD),
    ),
    "dry_activate.sh": ("the dry activation failed", lambda host: dry_activate(host, NEW)),
}
"""What each script's stage says that did not come about."""

E = ScriptExit
LOCKED = {E.HELD, E.UNWRITABLE}
ENDED = {E.DONE, E.GOES_ON, E.NOT_ACTIVATED, E.STOPPED, E.ACTIVATION_FAILED}
TOO_LATE = {E.GIVEN_UP, E.WENT_BACK, E.DRIFTED}
ENDS: dict[str, set[ScriptExit]] = {
    "activate/switch.sh": LOCKED
    | ENDED
    | TOO_LATE
    | {E.NOT_NIXOS, E.NOT_SWITCHABLE, E.BUSY, E.UNARMED},
    "activate/await_switch.sh": LOCKED | ENDED | {E.WENT_BACK, E.NOT_BEGUN, E.REBOOTED},
    "activate/confirm.sh": LOCKED | ENDED | TOO_LATE | {E.PROFILE_UNSET, E.NOT_DEFAULT},
    "activate/disarm.sh": LOCKED | TOO_LATE | {E.DONE},
    "activate/boot.sh": LOCKED
    | ENDED
    | {
        E.GIVEN_UP,
        E.NOT_NIXOS,
        E.NOT_SWITCHABLE,
        E.BUSY,
        E.BOOT_DRIFTED,
        E.PROFILE_UNSET,
        E.NOT_DEFAULT,
    },
    "activate/rollback.sh": LOCKED | ENDED | {E.NOT_BEGUN, E.PROFILE_UNSET, E.BOOT_LOADER_FAILED},
    "activate/dry_activate.sh": {E.DONE, E.ACTIVATION_FAILED},
    "activate/boot_state.sh": {E.DONE, E.UNREADABLE},
    "evaluate/system_of.sh": {E.DONE, E.UNREADABLE},
    "build/build.sh": {E.DONE, E.UNWRITABLE, E.BUILD_UNSTARTED, E.BUILD_DIED},
    "build/stop_build.sh": {E.DONE, E.UNSTOPPED},
    "copy_closure/sign.sh": {E.DONE, E.UNWRITABLE, E.NIX_FAILED},
    "flake/drop_lock.sh": {E.DONE, E.UNWRITABLE},
    "smoke/receive_model.sh": {E.DONE, E.DAMAGED},
    "smoke/smoke.sh": {E.DONE, E.UNWRITABLE, E.UNUSABLE},
    "smoke/verify_closure.sh": {E.DONE, E.NIX_FAILED},
    "store_contents.sh": {E.DONE, E.NIX_FAILED},
    "whole_paths.sh": {E.DONE, E.UNREADABLE},
}
"""The ends of each script that has more than DONE, beside those that are its programs' own."""

PROGRAMS_OWN = {
    "build/build_body.sh",
    "build/import_stream.sh",
    "copy_closure/direct_copy.sh",
    "copy_closure/path_infos.sh",
    "copy_closure/relayed_copy.sh",
    "activate/automatic_rollback.sh",
}
"""Scripts that end as the program does that they run, and answer nothing."""


def functions_of(name: str) -> dict[str, str]:
    """Give the functions that a script defines, each with its text."""
    found = re.findall(r"(?ms)^(\w+)\(\) \{\n(.*?)^\}|^(\w+)\(\) \{ (.*?) \}$", text_of(name))
    return {name or one_line: body or text for name, body, one_line, text in found}


def ends_in(text: str, functions: dict[str, str], seen: frozenset[str] = frozenset()) -> set[str]:
    """Give the names of the ends that a text can leave by, in the functions it calls too."""
    called = {name for name in functions if re.search(rf"\b{name}\b", text)} - seen
    found = set(re.findall(r"leave \"\$exit_(\w+)\"|return \"\$exit_(\w+)\"", text))
    names = {one or other for one, other in found}
    return names.union(*(ends_in(functions[name], functions, seen | called) for name in called))


@pytest.mark.parametrize("name", sorted({*RUN} - {"transport/sudo_with_password.sh"}))
def test_the_ends_of_a_script_are_known(name: str) -> None:
    """A script leaves by the ends that the table has, and by no number."""
    short = name.removeprefix("stages/")
    text = text_of(name).partition("\n\n")[2]
    assert not re.search(r"\bleave \d", text)
    functions = functions_of("stages/activate/activate.sh") if "take_host" in text else {}
    found = ends_in(text, functions)
    expected = set() if short in PROGRAMS_OWN else ENDS.get(short, {E.DONE})
    if short in ENDS or short not in PROGRAMS_OWN:
        assert found == {end.name.lower() for end in expected}


def test_every_end_is_told_in_words() -> None:
    """Each end is some script's; it has a sentence, a next step, and a code that is free."""
    used = set().union(*ENDS.values())
    assert used == set(ScriptExit)
    for end in used - {E.DONE, E.NOT_BEGUN}:
        assert end.sentence
        assert end.hint
        assert 200 <= end < 255
    assert len({end.sentence for end in ScriptExit}) == len(ScriptExit)


@pytest.mark.parametrize(
    ("name", "end"),
    [
        (name, end)
        for name in STAGES
        for end in sorted(ENDS[f"activate/{name}"] - {E.DONE, E.NOT_BEGUN})
    ],
)
def test_what_a_user_reads_of_an_end(name: str, end: ScriptExit) -> None:
    """The host, what did not come about, why, and what to do; what the script answers besides."""
    failed, stage = STAGES[name]
    with pytest.raises(StageError) as caught:
        stage(ended(end, "activation=1", "why=it runs something"))
    error = caught.value
    assert error.host == "carbon"
    assert error.stage
    expected = f"{failed}: {end.sentence}"
    if (name, end) in {("switch.sh", E.GOES_ON), ("await_switch.sh", E.GOES_ON)}:
        expected = f"{failed}: the activation did not end within 180 seconds"
    assert error.message.startswith(expected)
    assert error.hint == end.hint
    assert error.command == ""
    # Whatever leads back from here is the run's to do, and said when it does it.
    assert BY_ITSELF not in str(error)


OTHERS: tuple[tuple[ScriptExit, str, Callable[[EndingShell], Any]], ...] = (
    (
        E.UNSTOPPED,
        "the build can't be stopped",
        lambda host: stop_build(host, derivation("llama")),
    ),
    (E.UNWRITABLE, "the builder can't sign the closure", lambda host: sign(host, (NEW,))),
    (E.NIX_FAILED, "the builder can't sign the closure", lambda host: sign(host, (NEW,))),
    (E.NIX_FAILED, "its store can't be asked", lambda host: ask_store(host, (NEW,))),
    (E.UNREADABLE, "its store can't be looked at", lambda host: looks_lacking(host, (NEW,), "x")),
)
"""The ends of other scripts, as their stages tell of them."""


@pytest.mark.parametrize(("end", "failed", "stage"), OTHERS)
def test_what_a_user_reads_of_other_scripts(
    end: ScriptExit, failed: str, stage: Callable[[EndingShell], Any]
) -> None:
    """What did not come about, why, and what to do."""
    host = EndingShell("carbon", int(end), f"orchestrate:exit={int(end)}\n")
    with pytest.raises(CommandError) as caught:
        asyncio.run(stage(host))
    assert caught.value.message == f"{failed}: {end.sentence}"
    assert (caught.value.host, caught.value.hint) == ("carbon", end.hint)
    with pytest.raises(CommandError) as caught:
        asyncio.run(stage(EndingShell("carbon", 126, host.printed)))
    assert caught.value.message == f"{failed} (exit code 126)"


def test_a_model_that_arrives_damaged_is_told_of(tmp_path: Path) -> None:
    """What doesn't hash to its name is not stored, and the user reads why."""
    file, path = tmp_path / "model.gguf", tmp_path / "models" / "model.gguf"
    file.write_text("damaged")
    receive = script("stages/smoke/receive_model.sh", path=str(path), sha256="0" * 64)
    result = asyncio.run(LocalShell("carbon").run(replace(receive, stdin=file.read_bytes())))
    with pytest.raises(CommandError, match="can't be stored there: it arrived damaged"):
        answer_of(result, "smoke_model", "it can't be stored there")
    assert list(path.parent.iterdir()) == []


def test_what_a_reboot_brings_may_not_be_known() -> None:
    """Not to know it stops no copy, and is an error to who asks for the state itself."""
    host = EndingShell("carbon", int(E.UNREADABLE), f"orchestrate:exit={int(E.UNREADABLE)}\n")
    assert asyncio.run(reboot_for(host, NEW)) == ()
    result = asyncio.run(host.run(Command(("sh",))))
    with pytest.raises(CommandError, match="can't be asked: the files of its store"):
        answer_of(result, "reboot", "what it has booted can't be asked")


def test_failed_units_are_named() -> None:
    """A new system that runs with failed units says which, if the host doesn't accept them."""
    log = "warning: the following units failed: a.service, b.service\n"
    host = Ending("carbon", 0, f"{log}orchestrate:activation=4\norchestrate:exit=0\n")
    with pytest.raises(
        StageError, match=r"the new system runs, but units failed: a.*, b"
    ) as caught:
        switch(host, ACTIVATION)
    assert caught.value.hint == "look there: journalctl -u a.service"
    accepting = replace(ACTIVATION, accept_failed_units=True)
    report = switch(host, accepting)
    assert report.failed_units == ("a.service", "b.service")


@pytest.mark.parametrize(
    ("log", "answered", "failed"),
    [
        ("warning: the following units failed: a.service\n", ("a.service",), ()),
        (
            "warning: the following units failed: a.service, b.service\n",
            ("a.service",),
            ("b.service",),
        ),
        (
            (
                "warning: the following user units failed: c.service\n"
                "See `systemctl --user status c.service` for details.\n"
                "warning: user activation for alice failed\n"
            ),
            (),
            ("c.service",),
        ),
        ("warning: user activation for alice failed\n", (), ("units of alice",)),
        (
            (
                "Failed to start b.service\n"
                "Failed to reload c.service\n"
                "warning: the following units failed: a.service\n"
            ),
            ("a.service",),
            ("b.service", "c.service"),
        ),
        ("Failed to restart user unit d.service: timed out\n", (), ("d.service",)),
    ],
    ids=["before", "before and now", "a user's", "a user's, unnamed", "only a job", "unasked"],
)
def test_units_that_failed_are_told_from_those_that_had(
    log: str, answered: tuple[str, ...], failed: tuple[str, ...]
) -> None:
    """What had failed and is as it was doesn't count; a user's units count as the host's do."""
    said = "".join(f"orchestrate:failed_before={unit}\n" for unit in answered)
    host = Ending("carbon", 0, f"{log}orchestrate:activation=4\n{said}orchestrate:exit=0\n")
    assert switch(host, replace(ACTIVATION, accept_failed_units=True)).failed_units == failed
    if failed:
        with pytest.raises(StageError, match=f"units failed: {failed[0]}") as caught:
            switch(host, ACTIVATION)
        look = f"-u {failed[0]}" if "service" in failed[0] else "-b -e"
        assert caught.value.hint == f"look there: journalctl {look}"
    else:
        assert switch(host, ACTIVATION).exit_code == 4


@pytest.mark.parametrize("accept", [True, False])
@pytest.mark.parametrize(
    "log", ["", "Failed to run activate script\nthe following units failed: a.service\n"]
)
def test_what_is_no_failed_unit_is_not_accepted(log: str, *, accept: bool) -> None:
    """Exit code 4 hides that of an activation script that failed; without a name nobody knows."""
    host = Ending("carbon", 0, f"{log}orchestrate:activation=4\norchestrate:exit=0\n")
    with pytest.raises(StageError, match="the new system runs, but "):
        switch(host, replace(ACTIVATION, accept_failed_units=accept))


def test_the_code_of_an_activation_is_an_answer() -> None:
    """switch-to-configuration may end with any number; it is told, and is never an end of ours."""
    with pytest.raises(StageError, match=r"the activation failed.*\(exit code 201\)"):
        switch(ended(E.ACTIVATION_FAILED, "activation=201"), ACTIVATION)


def test_a_switch_that_was_not_begun() -> None:
    """Waiting for it gives nothing; going back from it touches nothing."""
    assert await_switch(cast("Any", ended(E.NOT_BEGUN)), ACTIVATION) is None
    untouched = reactivate(cast("Any", ended(E.NOT_BEGUN, f"running={NEW}")), ACTIVATION, OLD)
    assert (untouched.untouched, untouched.running) == (True, NEW)


def test_a_rollback_into_another_system_is_none() -> None:
    """What runs afterwards is the old system, or it failed."""
    with pytest.raises(CommandError, match="the host runs"):
        reactivate(cast("Any", ended(0, f"running={NEW}", "activation=0")), ACTIVATION, OLD)
    answer = ("rebooted=yes", "activation=4")
    done = reactivate(cast("Any", ended(0, f"running={OLD}", *answer)), ACTIVATION, OLD)
    assert (done.rebooted, done.units_failed, done.untouched) == (True, True, False)


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("code", NOT_OURS)
@pytest.mark.parametrize(
    "printed",
    [
        "",
        "exit={code}\n",
        " orchestrate:exit={code}\n",
        "orchestrate:exit={code}\norchestrate:a=b\n",
    ],
    ids=["nothing", "no mark", "quoted", "not the last"],
)
def test_an_end_that_is_not_the_scripts_own(name: str, code: int, printed: str) -> None:
    """Without the script's own last line a code is told as a number, whatever it means to us."""
    failed, stage = STAGES[name]
    with pytest.raises(StageError) as caught:
        stage(Ending("carbon", code, printed.format(code=code)))
    assert caught.value.message == f"{failed} (exit code {code})"


@pytest.mark.parametrize("name", STAGES)
def test_another_code_than_the_script_said(name: str) -> None:
    """A script that a signal ends after its answer has not ended as it said."""
    _, stage = STAGES[name]
    with pytest.raises(StageError, match="exit code 137"):
        stage(ended(0, code=137))


GUARDS = {
    "switch.sh": Guard.ARMED,
    "await_switch.sh": Guard.ARMED,
    "confirm.sh": Guard.BEING_DISARMED,
    "disarm.sh": Guard.BEING_DISARMED,
    "boot.sh": Guard.NONE,
    "rollback.sh": Guard.ROLLING_BACK,
    "dry_activate.sh": Guard.NONE,
}


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("code", [LOST, TIMED_OUT])
def test_what_holds_when_nothing_is_known(name: str, code: int) -> None:
    """A host that is lost goes back by itself only from the switch to the confirmation."""
    _, stage = STAGES[name]
    with pytest.raises(StageError) as caught:
        stage(Ending("carbon", code))
    assert GUARDS[name].value in caught.value.hint
    assert (BY_ITSELF in caught.value.hint) is (GUARDS[name] is Guard.ARMED)
    assert isinstance(caught.value, UnreachableError) is (code == LOST)


def test_a_host_without_an_old_system_has_no_guard() -> None:
    """There is nothing that it could go back to, so nothing says that it does."""
    with pytest.raises(UnreachableError) as caught:
        switch(Ending("carbon", LOST), replace(ACTIVATION, previous=None))
    assert Guard.NONE.value in caught.value.hint


@pytest.mark.parametrize("guard", Guard)
def test_the_checks_say_what_holds(guard: Guard, tmp_path: Path) -> None:
    """Smoke test and health check are run with the rollback armed, and without."""
    lost = EndingShell("carbon", LOST)
    model = ModelFile(tmp_path / "model.gguf", 1, "0" * 64)
    for check in (
        lambda: run_smoke(lost, model, SmokeTest(Smoke()), guard),
        lambda: check_health(lost, HealthCheck(("true",)), guard),
    ):
        with pytest.raises(UnreachableError) as caught:
            asyncio.run(check())
        assert caught.value.hint == f"check its network; {guard.value}"


@pytest.mark.parametrize(
    ("code", "what"),
    [(3, "failed"), (124, "did not end within 5 seconds"), (137, "did not end within 5 seconds")],
)
def test_how_a_health_check_ends(code: int, what: str) -> None:
    """Its own code decides, as the script answers it."""
    printed = f"no\norchestrate:code={code}\norchestrate:exit=0\n"
    host = EndingShell("carbon", 0, printed)
    with pytest.raises(CommandError) as caught:
        asyncio.run(check_health(host, HealthCheck(("check", "it"), 5), Guard.ARMED))
    assert caught.value.message == f"the health check {what} (exit code {code})"
    assert (caught.value.command, caught.value.last_lines) == ("check it", ("no",))


def test_a_health_check_is_framed(tmp_path: Path) -> None:
    """What the user's command prints is passed on, and none of it is taken for an answer."""
    text = "echo orchestrate:code=0; echo orchestrate:exit=0; printf 'no end' >&2; exit 3"
    command = script("stages/smoke/health_check.sh", "sh", "-c", text, seconds="5")
    answer = read(asyncio.run(LocalShell().run(command)))
    assert (answer.end, answer.every("code")) == (E.DONE, ("3",))
    assert answer.output.rstrip().splitlines() == [
        " orchestrate:code=0",
        " orchestrate:exit=0",
        "no end",
    ]
    assert not list(tmp_path.iterdir())
