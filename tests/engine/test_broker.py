"""The private server, its end and its beginning, and the checks of the user's own."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import shutil
import signal
import subprocess
import threading
import time
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from socket import AF_UNIX, socket
from typing import TYPE_CHECKING, Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from orchestrator.cli.engine import BegunRun
from orchestrator.cli.engine import Engine as CommandEngine
from orchestrator.errors import RunInterruptedError, UsageError
from orchestrator.model.report import Outcome
from orchestrator.state.journal import Journal
from tasks.broker import check_broker, forgetfulness, open_client, private_server
from tests.engine.conftest import Engine, kill, wait_until
from tests.plans import Wanted, make_plan

if TYPE_CHECKING:
    from collections.abc import Iterator


def server_pid(broker: str) -> int:
    """Return the process of the server behind a URL."""
    info: Any = open_client(broker).info("server")
    return int(info["process_id"])


def is_running(process: int) -> bool:
    """Whether a process runs; one that only waits to be reaped doesn't."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def is_free(lock: Path) -> bool:
    """Whether nobody has locked a file: the kernel takes the dead's locks when it comes to it."""
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def kill_server(process: int) -> None:
    """Kill a server as the kernel does when memory is short, and wait for its end."""
    os.kill(process, signal.SIGKILL)
    wait_until(lambda: not is_running(process))


def keeper_of(server: int) -> int:
    """Return the process that keeps a server: its parent."""
    stat = Path(f"/proc/{server}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])


def test_a_start_is_quick(tmp_path: Path) -> None:
    """The server keeps no command waiting: it starts, and ends, well within a second."""
    begun = time.monotonic()
    with private_server(tmp_path) as broker:
        assert open_client(broker).ping()
    assert time.monotonic() - begun < 2


def test_the_last_user_ends_the_server(tmp_path: Path) -> None:
    """Two users share one server; it outlives the first and ends with the last."""
    with private_server(tmp_path) as first:
        with private_server(tmp_path) as second:
            assert first == second
            process = server_pid(first)
        assert server_pid(first) == process
    wait_until(lambda: not is_running(process))


def test_what_was_written_is_there_next_time(tmp_path: Path) -> None:
    """A server that was told to end has all its data on disk."""
    for number in range(3):
        with private_server(tmp_path) as broker:
            assert open_client(broker).rpush("numbers", number) == number + 1


def test_a_second_start_waits_for_the_first_servers_end(tmp_path: Path) -> None:
    """Two servers never write the same files: who starts waits for who still ends."""
    with private_server(tmp_path) as broker:
        first = server_pid(broker)
        # Neither answers nor ends: as one that is busy with a slow disk.
        os.kill(first, signal.SIGSTOP)
        (tmp_path / "socket").unlink()
    waited: list[bool] = []

    def start() -> None:
        with private_server(tmp_path) as again:
            waited.append(is_running(first))
            assert server_pid(again) != first

    thread = threading.Thread(target=start)
    thread.start()
    time.sleep(0.5)
    assert waited == []
    os.kill(first, signal.SIGCONT)
    os.kill(first, signal.SIGTERM)
    thread.join(20)
    assert waited == [False]


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    """A socket that a killed server left behind is no server."""
    with closing(socket(AF_UNIX)) as left_behind:
        left_behind.bind(str(tmp_path / "socket"))
    with private_server(tmp_path) as broker:
        assert open_client(broker).ping()


def test_a_long_path_works(tmp_path: Path) -> None:
    """A directory whose path is too long for a socket has it under a shorter one."""
    directory = tmp_path / ("long" * 40) / "broker"
    with private_server(directory) as first:
        process = server_pid(first)
        with private_server(directory) as second:
            assert server_pid(second) == process
    wait_until(lambda: not is_running(process))
    with private_server(directory) as again:
        assert open_client(again).ping()
    shutil.rmtree((directory / "socket-directory").readlink())


def test_a_directory_with_odd_characters_works(tmp_path: Path) -> None:
    """Blanks, percent signs and question marks in a path survive the URL."""
    directory = tmp_path / "a b%20c?d#é"
    with private_server(directory) as broker:
        check_broker(open_client(broker))


def _use(directory: Path, started: Any, stop: Any) -> None:  # noqa: ANN401 - events of two processes
    with private_server(directory):
        started.set()
        stop.wait(30)


def test_a_killed_user_is_no_user(tmp_path: Path) -> None:
    """A command that is killed leaves its server to the next one, which ends it."""
    spawn = multiprocessing.get_context("spawn")
    started, stop = spawn.Event(), spawn.Event()
    user = spawn.Process(target=_use, args=(tmp_path, started, stop))
    user.start()
    assert started.wait(30)
    with private_server(tmp_path) as broker:
        process = server_pid(broker)
        user.kill()
        user.join()
        assert server_pid(broker) == process
    wait_until(lambda: not is_running(process))


def test_a_killed_users_server_ends(tmp_path: Path) -> None:
    """A command that is killed, and was the last, leaves no server behind."""
    spawn = multiprocessing.get_context("spawn")
    started, stop = spawn.Event(), spawn.Event()
    user = spawn.Process(target=_use, args=(tmp_path, started, stop))
    user.start()
    assert started.wait(30)
    client = redis.Redis(unix_socket_path=str(tmp_path / "socket"))
    info: Any = client.info("server")
    process = int(info["process_id"])
    keeper = keeper_of(process)
    user.kill()
    user.join()
    wait_until(lambda: not is_running(process) and not is_running(keeper))


def test_a_server_whose_keeper_was_killed_is_replaced(tmp_path: Path) -> None:
    """A server that has lost its keeper is ended, and its data is taken over."""
    with private_server(tmp_path) as broker:
        orphan = server_pid(broker)
        open_client(broker).set("kept", "yes")
        keeper = keeper_of(orphan)
        os.kill(keeper, signal.SIGKILL)
        wait_until(lambda: keeper_of(orphan) != keeper and is_free(tmp_path / "keeper.lock"))
    assert is_running(orphan)
    with private_server(tmp_path) as broker:
        # The kernel takes its locks a moment before it is gone.
        wait_until(lambda: not is_running(orphan))
        assert open_client(broker).get("kept") == b"yes"


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    """A directory with damaged data ends in an error with the server's own words."""
    (tmp_path / "appendonlydir").write_text("not a directory")
    with pytest.raises(UsageError) as caught, private_server(tmp_path):
        pass
    assert caught.value.last_lines
    assert "server.log" in caught.value.hint


def test_a_lost_server_is_an_error_that_says_how_to_go_on(engine: Engine) -> None:
    """A driver whose broker dies names the command; a new server knows the run."""
    plan = make_plan(Wanted("slow"), Wanted("carbon"))
    engine.journal(plan).create(plan)
    killed: list[int] = []

    def kill_in_mid_run() -> None:
        if not killed and "switch:slow" in engine.ran(plan):
            # The server writes once a second: what was done in the last one may
            # be forgotten, and is then done again.
            time.sleep(1.5)
            killed.append(server_pid(engine.broker))
            kill_server(keeper_of(killed[0]))
            kill_server(killed[0])

    with engine.worker() as worker:
        driver = CommandEngine(engine.broker, kill_in_mid_run)
        begun = BegunRun(plan, engine.journal(plan), driver)
        with pytest.raises(RunInterruptedError, match=f"orchestrate resume {plan.run}"):
            begun.drive(engine.events.append)
        # The command ends, and its worker with it.
        kill(worker)
    with private_server(engine.directory / "broker") as broker:
        again = Engine(engine.directory, broker)
        with again.worker():
            ended = again.drive(plan)
        ran = again.ran(plan)
    assert {result.outcome for result in ended.values()} == {Outcome.DEPLOYED}
    assert ran.count("switch:slow") == 2
    assert ran.count("copy_closure:slow") == ran.count("copy_closure:carbon") == 1


def test_a_worker_outlives_a_short_absence_of_the_broker(engine: Engine) -> None:
    """A worker whose broker is away for a moment ends its step when it is back."""
    plan = make_plan(Wanted("slow"))
    with engine.worker() as worker, ExitStack() as stack:
        with engine.driving(plan) as ended:
            engine.wait_for(plan, "switch:slow")
            time.sleep(1.5)
            kill_server(server_pid(engine.broker))
            stack.enter_context(private_server(engine.directory / "broker"))
            wait_until(lambda: bool(ended))
        assert worker.poll() is None
    assert ended["slow"].outcome is Outcome.DEPLOYED


def listens(path: Path) -> bool:
    """Whether a server takes connections there; a socket's file is there before that."""
    with socket(AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


@contextmanager
def own_server(directory: Path, *options: str) -> Iterator[redis.Redis]:
    """Have a server that isn't ours, with options that we wouldn't choose."""
    with private_server(directory / "binary") as broker:
        info: Any = open_client(broker).info("server")
    path = directory / "own-socket"
    argv = [info["executable"], "--port", "0", "--save", "", "--unixsocket", str(path), *options]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, cwd=directory)
    try:
        wait_until(lambda: listens(path))
        yield redis.Redis(unix_socket_path=str(path), retry=Retry(NoBackoff(), retries=0))
    finally:
        kill(process)


def test_an_evicting_server_is_refused(tmp_path: Path) -> None:
    """A broker that may forget a run is refused, with the setting that helps."""
    with own_server(tmp_path, "--maxmemory-policy", "allkeys-lru") as client:
        with pytest.raises(UsageError, match="allkeys-lru") as caught:
            check_broker(client)
        assert caught.value.hint == "CONFIG SET maxmemory-policy noeviction"


def test_a_server_that_forbids_config_is_accepted(tmp_path: Path) -> None:
    """A managed broker that forbids CONFIG can be used all the same."""
    with own_server(tmp_path, "--rename-command", "CONFIG", "") as client:
        check_broker(client)


def test_a_server_that_wants_a_password_is_refused(tmp_path: Path) -> None:
    """A broker that doesn't let us in is a usage error, not a defect."""
    with (
        own_server(tmp_path, "--requirepass", "hunter2") as client,
        pytest.raises(UsageError, match="doesn't answer"),
    ):
        check_broker(client)


def test_a_server_that_forbids_info_is_refused(tmp_path: Path) -> None:
    """A broker that doesn't say what it is can't be checked, and is a usage error."""
    with own_server(tmp_path) as client:
        client.acl_setuser("default", enabled=True, nopass=True, commands=["-info"])
        with pytest.raises(UsageError, match="doesn't answer"):
            check_broker(client)


def test_a_server_that_keeps_nothing_is_warned_of(tmp_path: Path) -> None:
    """Without append-only file and snapshots a restart forgets every run; ours has the file."""
    with own_server(tmp_path) as client:
        assert "CONFIG SET appendonly yes" in forgetfulness(client)
        client.config_set("save", "60 1")
        assert forgetfulness(client) == ""
        client.config_set("save", "")
        client.config_set("appendonly", "yes")
        assert forgetfulness(client) == ""
    with private_server(tmp_path / "private") as broker:
        assert forgetfulness(open_client(broker)) == ""


def test_a_server_that_forbids_config_is_not_warned_of(tmp_path: Path) -> None:
    """If it may not be asked, its operator knows."""
    with own_server(tmp_path, "--rename-command", "CONFIG", "") as client:
        assert forgetfulness(client) == ""


def test_an_unreachable_server_is_refused(tmp_path: Path) -> None:
    """A broker that isn't there is refused, with what to check."""
    with pytest.raises(UsageError, match="doesn't answer") as caught:
        check_broker(open_client(f"redis+socket://{tmp_path}/absent?virtual_host=0"))
    assert "--broker" in caught.value.hint


def test_a_client_is_shared_in_a_process(engine: Engine) -> None:
    """One process has one client for a broker, which all its threads share."""
    assert open_client(engine.broker) is open_client(engine.broker)
    assert isinstance(Journal(open_client(engine.broker), "r").client, redis.Redis)
