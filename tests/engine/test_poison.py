"""What is no message of ours, in a queue of ours: a real worker outlives all of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from orchestrator.model.report import Outcome
from tasks.app import STEP_TASK, UNACKED, make_app
from tasks.broker import open_client
from tests.engine.conftest import wait_until
from tests.plans import Wanted, make_plan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engine.conftest import Engine

NO_MESSAGES = (b"not a message at all", b"", b"\xff\xfe", b"null", b"{}", b"[" * 100_000)
WRONG: tuple[object, ...] = (None, 3, "x", [], {}, {"a": 1}, "\ud800")


def test_bytes_that_are_no_message_stop_no_worker(engine: Engine) -> None:
    """A worker refuses garbage for good, says so in its log, and does the step behind it."""
    plan = make_plan(Wanted("carbon"))
    client = open_client(engine.broker)
    client.lpush("deploy", *NO_MESSAGES)
    with engine.worker() as process:
        ended = engine.run(plan)
        assert process.poll() is None
    assert ended["carbon"].outcome is Outcome.DEPLOYED
    assert client.llen("deploy") == client.hlen(UNACKED) == 0
    log = (engine.directory / "worker.jsonl").read_text().splitlines()
    refused = [line for line in log if json.loads(line)["event"] == "message refused"]
    assert len(refused) == len(NO_MESSAGES)
    assert max(map(len, refused)) < 10_000


def test_no_damage_to_a_message_ends_a_worker(engine: Engine) -> None:
    """Each part of a real message missing, or of a wrong type: refused, and not redelivered."""
    plan = make_plan(Wanted("carbon"))
    client = open_client(engine.broker)
    app = make_app(engine.broker)
    app.send_task(STEP_TASK, args=("another-run", "switch:carbon", 1), queue="deploy")
    app.close()
    sent: Any = client.rpop("deploy")
    client.lpush("deploy", *(json.dumps(damaged) for damaged in damages(json.loads(sent))))
    with engine.worker() as process:
        wait_until(lambda: client.llen("deploy") == 0)
        ended = engine.run(plan)
        assert process.poll() is None
    assert ended["carbon"].outcome is Outcome.DEPLOYED
    assert client.hlen(UNACKED) == 0


def damages(value: Any) -> Iterator[Any]:  # noqa: ANN401 - JSON
    """Yield a JSON object with each part of it, at any depth, missing or replaced."""
    yield from WRONG
    if isinstance(value, dict):
        for name, part in value.items():
            others = {key: value[key] for key in value if key != name}
            yield others
            yield from ({**others, name: damaged} for damaged in damages(part))
