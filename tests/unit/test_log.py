"""The program's log: one JSON object a line, without secrets."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from structlog.testing import CapturingLogger

from orchestrator.log import hide, redact

if TYPE_CHECKING:
    from pathlib import Path


def redacted(**entry: object) -> dict[str, object]:
    """Redact an entry as the log does."""
    return dict(redact(CapturingLogger(), "info", entry))


@pytest.mark.parametrize(
    "key",
    ["password", "become_password", "Passphrase", "secret_file", "api_token", "private_key"],
)
def test_a_secret_key_hides_its_value(key: str) -> None:
    """Whatever a key that says secret holds, however deep, is blanked."""
    assert redacted(**{key: "hunter2"})[key] == "[redacted]"
    assert "hunter2" not in str(redacted(data=[{"host": {key: ["hunter2"]}}]))


def test_a_known_secret_is_hidden_wherever_it_is() -> None:
    """A password that this process has read is blanked under any key, inside any text."""
    hide("correct horse")
    hide("correct horse battery")
    entry = redacted(last_lines=["sudo said correct horse battery!"], data={"a": "correct horse"})
    assert entry == {"last_lines": ["sudo said [redacted]!"], "data": {"a": "[redacted]"}}


def test_other_keys_stay() -> None:
    """Speeds, paths and names are what the log is for."""
    entry: dict[str, object] = {"tokens_per_second": 12.5, "host": "carbon", "lines": ["a", 1]}
    assert redacted(**entry) == entry


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rediss://user:hunter2@broker:6379/0", "rediss://user:[redacted]@broker:6379/0"),
        ("redis://:hunter2@broker", "redis://:[redacted]@broker"),
        ("redis://:hun@ter2@broker", "redis://:[redacted]@broker"),
        (
            "git+https://me:hunter2@forge/x y://a:b@c",
            "git+https://me:[redacted]@forge/x y://a:[redacted]@c",
        ),
        ("ssh://root@carbon:22/", "ssh://root@carbon:22/"),
    ],
)
def test_a_password_in_a_url_is_hidden(text: str, shown: str) -> None:
    """A URL keeps its user and host, and loses its password."""
    assert redacted(message=text, lines=(text,)) == {"message": shown, "lines": [shown]}


def test_a_traceback_is_redacted_too(tmp_path: Path) -> None:
    """What an exception says goes through the same sieve, and the file is the user's."""
    code = (
        "import sys, pathlib, structlog\n"
        "from orchestrator.log import configure_log\n"
        "configure_log(pathlib.Path(sys.argv[1]))\n"
        "try:\n"
        "    raise OSError('no route to redis://:hunter2@broker')\n"
        "except OSError:\n"
        "    structlog.get_logger().exception('lost', password='hunter3')\n"
    )
    log = tmp_path / "state" / "log.jsonl"
    subprocess.run([sys.executable, "-c", code, str(log)], check=True)
    entry = json.loads(log.read_text())
    assert (entry["event"], entry["password"]) == ("lost", "[redacted]")
    assert "OSError: no route to redis://:[redacted]@broker" in entry["exception"]
    assert "hunter" not in log.read_text()
    assert stat.S_IMODE(log.parent.stat().st_mode) == 0o700
