"""Each variable is defined once, and all that is said of it comes from there."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import shutil
import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import inventory
from inventory.definition import Definition, definitions_of
from inventory.definitions import DEFINITIONS, OURS
from inventory.kinds import Choice
from inventory.reference import PAGE, SCHEMA
from inventory.schema import inventory_schema
from inventory.variables import Variables
from orchestrator.cli.init import inventory_text
from orchestrator.errors import InventoryError
from tests import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(inventory.__file__).parent
EXAMPLE = (PACKAGE / "example.yml").read_text(encoding="utf-8")
BY_NAME = {definition.name: definition for definition in DEFINITIONS}
_CHOICES = [one.kind.members for one in DEFINITIONS if isinstance(one.kind, Choice)]
VALIDATOR = jsonschema.Draft7Validator(inventory_schema())

# Each with the default that replaces its own, and where a reader finds it then.
CHANGED = {
    "ansible_port": (23, "host.connection.port"),
    "orchestrate_connect_timeout": (6.5, "host.connection.connect_timeout"),
    "orchestrate_smoke_timeout": (121.5, "host.smoke.timeout"),
    "orchestrate_reboot_timeout": (301.5, "host.reboot_timeout"),
    "orchestrate_llama_web_ui": (False, "host.web_ui"),
    "orchestrate_confirm_timeout": (181.5, "fleet.confirm_timeout"),
    "orchestrate_way_back_timeout": (122.5, "fleet.way_back_timeout"),
    "orchestrate_copies_at_once": (9, "fleet.copies.at_once"),
    "orchestrate_canary": (False, "fleet.rollout.canary"),
}


def written(name: str, value: object) -> Variables:
    """Return what a user writes who sets one variable."""
    return Variables("carbon", {name: value}, Path("/etc/fleet"))


def found_in_modules() -> Iterator[Definition[Any]]:
    """Return every definition that the package has, as a constant or beside a field."""
    for module in pkgutil.iter_modules([str(PACKAGE)]):
        for value in vars(importlib.import_module(f"inventory.{module.name}")).values():
            if isinstance(value, Definition):
                yield value
            elif isinstance(value, type) and is_dataclass(value):
                yield from definitions_of(value)


def example_settings() -> Iterator[tuple[str, object, bool]]:
    """Return what the example sets: name, value, and whether in a comment."""
    for line in EXAMPLE.splitlines():
        found = re.fullmatch(r" *(# )?((?:orchestrate|ansible)_\w+): *(.*)", line)
        if found:
            yield found[2], yaml.safe_load(found[3]), found[1] is not None


def test_every_definition_is_in_the_list() -> None:
    """A variable that is defined anywhere in the package is known, and known once."""
    assert set(map(id, found_in_modules())) == set(map(id, DEFINITIONS))
    assert len(BY_NAME) == len(DEFINITIONS)


def test_a_default_stands_in_one_place(tmp_path: Path) -> None:
    """Changing the default in its definition changes what an empty inventory gives."""
    shutil.copytree(PACKAGE, tmp_path / "inventory")
    for file in (tmp_path / "inventory").glob("*.py"):
        file.write_text(with_other_defaults(file.read_text()))
    (tmp_path / "inventory.yml").write_text("all: {hosts: {carbon: }}")
    asked = ", ".join(place for _, place in CHANGED.values())
    program = (
        "import json, pathlib; from inventory.read import read_inventory;"
        "read = read_inventory(pathlib.Path('inventory.yml'));"
        f"host, fleet = read.hosts[0], read.fleet; print(json.dumps([{asked}]))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True
    )
    assert json.loads(ended.stdout) == [default for default, _ in CHANGED.values()]


def with_other_defaults(text: str) -> str:
    """Replace the default in each definition of `CHANGED` that a file has."""
    for name, (default, _) in CHANGED.items():
        text = re.sub(rf'(?s)("{name}",.*?default=)[^,]+', rf"\g<1>{default}", text, count=1)
    return text


@pytest.mark.parametrize("name", [name for name, one in BY_NAME.items() if not one.otherwise])
def test_a_default_can_be_written(name: str) -> None:
    """A default is a value that the variable can be set to, and means the same then."""
    definition = BY_NAME[name]
    default = definition.default
    value = list(default) if isinstance(default, tuple) else default
    assert definition.read(written(name, value)) == default
    assert definition.sentence[0].isupper()
    assert not definition.sentence.endswith(".")


def test_the_files_in_docs_are_generated(tmp_path: Path) -> None:
    """What docs/ says of the variables is what `python -m inventory.reference docs` writes."""
    subprocess.run([sys.executable, "-m", "inventory.reference", tmp_path], check=True, cwd=ROOT)
    for name in (PAGE, SCHEMA):
        assert (ROOT / "docs" / name).read_text() == (tmp_path / name).read_text()


def test_the_documentation_knows_no_other_variables() -> None:
    """A variable that a page or the example mentions exists."""
    pages = [ROOT / "README.md", ROOT / "ansible-compat/README.md", *(ROOT / "docs").glob("*.md")]
    for text in [EXAMPLE, *(page.read_text(encoding="utf-8") for page in pages)]:
        mentioned = set(re.findall(r"\borchestrate_\w*[a-z]\b(?!\.py)", text))
        assert mentioned <= OURS


def test_the_example_has_every_variable() -> None:
    """Each of our variables is set in the example, in a comment or not."""
    assert {name for name, _, _ in example_settings()} >= OURS


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, value, commented in example_settings() if commented]
)
def test_a_comment_of_the_example_shows_the_default(name: str, value: object) -> None:
    """A setting in a comment can be used as it is; if there is a default, it is that."""
    definition = BY_NAME[name]
    read = definition.read(written(name, value))
    has_default = definition.default not in (None, ()) and not definition.otherwise
    if has_default and not name.startswith("ansible_"):
        assert read == definition.default


def test_the_schema_accepts_the_example() -> None:
    """An editor finds nothing wrong with the example, nor with what is in its comments."""
    VALIDATOR.check_schema(VALIDATOR.schema)
    VALIDATOR.validate(yaml.safe_load(EXAMPLE))
    for name, value, _ in example_settings():
        VALIDATOR.validate({"all": {"vars": {name: value}}})


@pytest.mark.parametrize(
    "text",
    [
        "all: {hosts: carbon}",
        "all: {hosts: {carbon: }, children: {a: {hosts: {boron: {}}, children: {b: }}}}",
        "a: {vars: {orchestrate_max_unavailable: 25%, ansible_group_priority: 10}}",
        "all: {vars: {orchestrate_serial: [1, 25%, '3'], orchestrate_canary: 'no', mine: [1]}}",
        "all: {hosts: {carbon: {orchestrate_smoke_timeout: '1e2', orchestrate_smoke_tokens: '8'}}}",
        "all: {hosts: {carbon: {orchestrate_smoke_timeout: null, orchestrate_builder: null}}}",
        "all: {hosts: {carbon: {orchestrate_health_check: [a, b], orchestrate_builder: false}}}",
        "all: {hosts: {carbon: {ansible_become_method: community.general.doas}}}",
        "all: {hosts: {carbon: {ansible_ssh_common_args: '', orchestrate_deploy: Yes}}}",
    ],
)
def test_the_schema_accepts_what_can_be_read(text: str) -> None:
    """What a user may write is nothing that an editor marks."""
    VALIDATOR.validate(yaml.safe_load(text))


_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 70000),
    st.floats(),
    st.text("0123456789.eE+-%", max_size=4),
    st.sampled_from([str(one) for choice in _CHOICES for one in choice]),
    st.sampled_from(["", "yes", "OFF", "y", "1", "/run/key", "me@gate:2200", "none", "ssh"]),
)


@settings(deadline=None, max_examples=500)
@given(
    st.sampled_from([one for one in DEFINITIONS if not one.mapping]),
    _SCALARS | st.lists(_SCALARS, max_size=3),
)
def test_the_schema_is_no_stricter_than_the_reader(
    definition: Definition[Any], value: object
) -> None:
    """An editor never marks a value that can be read."""
    try:
        definition.read(written(definition.name, value))
    except InventoryError:
        return
    VALIDATOR.validate({"all": {"vars": {definition.name: value}}})


def test_the_schema_accepts_the_inventory_of_a_new_fleet() -> None:
    """An editor finds nothing wrong with the inventories that new users start from."""
    standalone = ROOT / "flake-template/standalone/inventory.yml"
    VALIDATOR.validate(yaml.safe_load(standalone.read_text()))
    VALIDATOR.validate(yaml.safe_load(inventory_text(("carbon=192.0.2.1",), ("ada",), ".", "me")))


@pytest.mark.parametrize(
    "text",
    [
        "all: {host: {carbon: }}",
        "all: {hosts: [carbon]}",
        "all: {vars: {orchestrate_flak: x}}",
        "a: {vars: {orchestrate_serial: 1}}",
        "all: {hosts: {carbon: {orchestrate_confirm_timeout: 60}}}",
        "all: {hosts: {carbon: {orchestrate_max_unavailable: 1}}}",
        "all: {children: {a: {hosts: {carbon: {orchestrate_reboot: always}}}}}",
        "all: {hosts: {carbon: {orchestrate_smoke_tokens: 0}}}",
        "all: {hosts: {carbon: {orchestrate_deploy: maybe}}}",
        "all: {hosts: {carbon: {orchestrate_builder: {system: x86_64-linux}}}}",
        "all: {hosts: {carbon: {orchestrate_builder: {features: []}}}}",
        "all: {hosts: {carbon: {orchestrate_become_password_command: pass show}}}",
        "all: {hosts: {carbon: {ansible_port: 70000}}}",
    ],
)
def test_the_schema_marks_what_is_refused(text: str) -> None:
    """A misspelt name, a wrong type and a wrong place are seen while writing."""
    assert not VALIDATOR.is_valid(yaml.safe_load(text))


def test_reading_an_inventory_is_light() -> None:
    """Reading an inventory alone waits for no ssh, no queue and no generator."""
    program = "import sys, inventory.read; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    loaded = set(ended.stdout.decode().split())
    heavy = {"asyncssh", "celery", "fabric", "msgspec", "redis", "structlog", "inventory.schema"}
    assert not loaded & heavy
