"""The real Ansible is the judge of what an inventory means."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import inventory
from inventory.pattern import select
from inventory.read import read_inventory, read_source
from orchestrator.errors import InventoryError
from tests import ROOT

_EXAMPLE = Path(inventory.__file__).with_name("example.yml")
_SCRIPT = ROOT / "ansible-compat" / "orchestrate_inventory.py"

_RANGES = """
    web:
      hosts:
        www[01:03].example.org: {ansible_port: 2222, n: 1}
        www02.example.org: {n: 2}
        db-[a:c]-[0:4:2]:
    ipv6: {hosts: {"fe80::1": , "[fe80::2]:2200": {ansible_user: me}}}
    all: {hosts: {lonely: , "ported:2022": }, vars: {ansible_user: root, day: 2020-01-01}}
    """
_NESTED = """
    all:
      vars: {v: all, w: all, ansible_user: root}
      hosts: {alone: {v: alone}}
      children:
        europe:
          vars: {v: europe, x: europe}
          children:
            berlin: {hosts: {b1: , b2: {v: b2}}, vars: {v: berlin, deep: {a: 1}}}
            paris: {hosts: {p1: , b1: }, vars: {v: paris, deep: {b: 2}}}
        gpu: {children: {berlin: }, hosts: {g1: }, vars: {v: gpu, z: 0o10, y: yes}}
        asia: {hosts: {b1: , g1: }, vars: {v: low, ansible_group_priority: 10, t: 12:30}}
        empty: {hosts: , vars: {v: empty}}
        single: {hosts: g1, children: empty}
    """
_DIRECTORIES = """
    all:
      vars: {a: file-all, b: file-all, ansible_user: root}
      children:
        one: {hosts: {h1: {c: file-host, d: file-host}, h2: }, vars: {a: file-one, b: file-one}}
        two: {hosts: {h1: }, vars: {e: file-two}}
    """
_MARKED = """
    all:
      vars: {ansible_user: root, motd: "{{ inventory_hostname }}", raw: !unsafe "{{ x }}"}
      hosts:
        h1:
          secret: !vault |
            $ANSIBLE_VAULT;1.1;AES256
            6162
          list: [1, {k: !unsafe "{{ y }}"}]
    """
_FILES = {
    "group_vars/all.yml": "{b: dir-all, f: dir-all, orchestrate_confirm_timeout: 60}",
    "group_vars/one/1.yml": "{f: dir-one-1, g: dir-one-1}",
    "group_vars/one/2.yaml": "{g: dir-one-2}",
    "group_vars/one/.hidden.yml": "{g: hidden}",
    "group_vars/one/3.txt": "{g: text}",
    "group_vars/two": "{g: dir-two, h: [1, 2]}",
    "group_vars/two.yml": "{g: never}",
    "host_vars/h1.yaml": "{d: dir-host, orchestrate_llama_variant: cpu}",
    "host_vars/h2.json": '{"d": "dir-host"}',
}


def _tool(name: str) -> str:
    """Find a program of ansible-core: beside this Python, or on PATH."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{name} is missing, and CI must judge with it")
        pytest.skip(f"{name} is not installed")
    return found


def _ansible(*arguments: str, **environment: str) -> str:
    return subprocess.run(
        [_tool(arguments[0]), *arguments[1:]],
        check=True,
        capture_output=True,
        encoding="utf-8",
        env=os.environ | {"ANSIBLE_LOCALHOST_WARNING": "false"} | environment,
        stdin=subprocess.DEVNULL,
    ).stdout


def _listing(path: Path, **environment: str) -> dict[str, Any]:
    found = json.loads(_ansible("ansible-inventory", "-i", str(path), "--list", **environment))
    assert isinstance(found, dict)
    return found


def _groups(listing: dict[str, Any]) -> dict[str, tuple[frozenset[str], frozenset[str]]]:
    """Return hosts and children of every group that has any."""
    groups = {
        name: (frozenset(content.get("hosts", ())), frozenset(content.get("children", ())))
        for name, content in listing.items()
        if name != "_meta"
    }
    return {name: content for name, content in groups.items() if any(content)}


def _script_environment(path: Path) -> dict[str, str]:
    # The script starts as `python3`: let that be the one that runs the tests.
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {"ORCHESTRATE_INVENTORY": str(path), "PATH": search}


def _written(directory: Path, text: str) -> Path:
    for name, content in _FILES.items() if text is _DIRECTORIES else ():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    path = directory / "inventory.yml"
    path.write_text(dedent(text))
    return path


_INVENTORIES = pytest.mark.parametrize(
    "text",
    [_RANGES, _NESTED, _DIRECTORIES, _MARKED, _EXAMPLE.read_text(encoding="utf-8")],
    ids=["ranges", "nested", "directories", "marked", "example"],
)


@_INVENTORIES
def test_the_native_reader_agrees_with_ansible(tmp_path: Path, text: str) -> None:
    """Hosts, groups, children and the variables of each host are Ansible's."""
    path = _written(tmp_path, text)
    listing = _listing(path)
    source = read_source(path)
    assert set(source.hosts) == set(_hosts_of(listing))
    ours = {
        name: (frozenset(group.hosts if name != "all" else ()), frozenset(group.children))
        for name, group in source.groups.items()
    }
    assert {name: content for name, content in ours.items() if any(content)} == _groups(listing)
    if text is not _MARKED:
        assert {n: v for n, v in source.hosts.items() if v} == listing["_meta"]["hostvars"]


def _hosts_of(listing: dict[str, Any]) -> list[str]:
    return [
        host
        for name, content in listing.items()
        if name != "_meta"
        for host in content.get("hosts", ())
    ]


@_INVENTORIES
def test_the_script_gives_ansible_what_the_file_gives(tmp_path: Path, text: str) -> None:
    """Ansible sees the same groups and host variables through the script."""
    path = _written(tmp_path, text)
    direct = _listing(path)
    through = _listing(_SCRIPT, **_script_environment(path))
    assert _groups(through) == _groups(direct)
    assert through["_meta"]["hostvars"] == direct["_meta"]["hostvars"]


@_INVENTORIES
def test_both_ways_of_reading_give_the_same_inventory(tmp_path: Path, text: str) -> None:
    """What goes through ansible-inventory is interpreted like what doesn't."""
    native = read_inventory(_written(tmp_path, text))
    (tmp_path / "plain").mkdir()
    # A directory of one file is what only Ansible reads.
    asked = read_inventory(_moved(tmp_path, tmp_path / "plain"))
    by_name = {host.name: host for host in asked.hosts}
    assert by_name.keys() == {host.name for host in native.hosts}
    for host in native.hosts:
        assert by_name[host.name].connection == host.connection
        assert by_name[host.name].variant_pin == host.variant_pin
        assert by_name[host.name].groups == host.groups
    assert {n: set(hosts) for n, hosts in asked.groups.items()} == {
        n: set(hosts) for n, hosts in native.groups.items()
    }
    assert asked.fleet.confirm_timeout == native.fleet.confirm_timeout


def _moved(source: Path, target: Path) -> Path:
    for name in ("inventory.yml", "group_vars", "host_vars"):
        if (source / name).exists():
            shutil.move(source / name, target / name)
    return target


def test_an_ini_inventory_is_read_through_ansible(tmp_path: Path) -> None:
    """INI, with its text for every value, gives the same types."""
    ini = tmp_path / "hosts"
    ini.write_text(
        "[gpu]\nnitrogen ansible_host=n.lan ansible_port=2222 orchestrate_deploy=yes\n"
        "[gpu:vars]\norchestrate_smoke_tokens=8\nansible_password=hunter2\n"
        "[all:vars]\norchestrate_serial=2\nansible_user=me\n"
    )
    read = read_inventory(ini)
    host = read.host("nitrogen")
    assert (host.connection.address, host.connection.port) == ("n.lan", 2222)
    assert (host.deploy, host.smoke.tokens, host.groups) == (True, 8, ("gpu",))
    assert read.fleet.rollout.serial == (2,)
    assert "hunter2" not in repr(read_source(ini))


def test_an_encrypted_group_vars_file_is_read_through_ansible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that ansible-vault encrypted as a whole is decrypted by Ansible."""
    path = _written(tmp_path, "gpu: {hosts: {nitrogen: }}")
    password = tmp_path / "password"
    password.write_text("correct horse\n")
    secret = tmp_path / "group_vars" / "gpu.yml"
    secret.parent.mkdir()
    secret.write_text("{ansible_host: hidden.lan, ansible_become_password: hunter2}")
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(password))
    _ansible("ansible-vault", "encrypt", str(secret))
    assert read_inventory(path).host("nitrogen").connection.address == "hidden.lan"
    assert "hunter2" not in repr(read_source(path))
    monkeypatch.delenv("ANSIBLE_VAULT_PASSWORD_FILE")
    with pytest.raises(InventoryError) as caught:
        read_inventory(path)
    assert "ANSIBLE_VAULT_PASSWORD_FILE" in caught.value.hint
    assert "ansible-inventory -i" in caught.value.command


def test_the_script_adds_what_ansible_lacks(tmp_path: Path) -> None:
    """Ansible goes through the same jump host, as the same user, with the same keys."""
    path = _written(
        tmp_path,
        "all: {hosts: {gate: {ansible_port: 2200}, far: {orchestrate_jump: gate, "
        "orchestrate_known_hosts: 'known hosts', orchestrate_host_key_policy: pinned}}}",
    )
    answer = _ansible_script(path, "--host", "far")
    assert answer["ansible_user"] == "root"
    assert answer["ansible_ssh_common_args"] == (
        "-o ProxyJump=root@gate:2200 "
        f"-o 'UserKnownHostsFile={tmp_path}/known hosts' -o StrictHostKeyChecking=yes"
    )


def _ansible_script(path: Path, *arguments: str) -> dict[str, Any]:
    ended = subprocess.run(
        [str(_SCRIPT), *arguments],
        check=True,
        capture_output=True,
        env=os.environ | _script_environment(path),
    )
    found = json.loads(ended.stdout)
    assert isinstance(found, dict)
    return found


def test_the_script_reports_an_error_as_one(tmp_path: Path) -> None:
    """Ansible gets an exit code and a sentence, not a traceback or half a fleet."""
    ended = subprocess.run(
        [str(_SCRIPT), "--list"],
        check=False,
        capture_output=True,
        encoding="utf-8",
        env=os.environ | _script_environment(tmp_path / "nothing.yml"),
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("no inventory at")
    assert not ended.stdout


@pytest.mark.parametrize(
    "pattern",
    [
        "all",
        "berlin,g1",
        "europe:!b2",
        "gpu:&asia",
        "!europe",
        "b*",
        "~[bp]1",
        "berlin[0]",
        "europe[1:2]",
        "gpu[-1]",
        "gpu[1:]",
        "all,!~b.*,!alone",
    ],
)
def test_a_pattern_selects_what_ansible_lists(tmp_path: Path, pattern: str) -> None:
    """`ansible PATTERN --list-hosts` names the same hosts."""
    path = _written(tmp_path, _NESTED)
    printed = _ansible("ansible", "-i", str(path), pattern, "--list-hosts").splitlines()
    chosen = select(read_inventory(path), pattern)
    assert sorted(host.name for host in chosen) == sorted(line.strip() for line in printed[1:])


_ATOMS = st.sampled_from(
    [
        "all",
        "europe",
        "berlin",
        "gpu",
        "asia",
        "b1",
        "alone",
        "p1",
        "b*",
        "*1",
        "g?",
        "[bg]1",
        "~^b",
        "~.*1$",
        "berlin[0]",
        "europe[0:1]",
        "asia[-1]",
        "gpu[1:]",
        "nowhere",
        "asia[7]",
    ]
)
_EXPRESSIONS = st.lists(
    st.tuples(st.sampled_from(["", "", "!", "&"]), _ATOMS).map("".join), min_size=1, max_size=4
)


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One inventory of nested groups for many patterns."""
    return _written(tmp_path_factory.mktemp("nested"), _NESTED)


@settings(deadline=None, max_examples=200)
@given(_EXPRESSIONS, st.sampled_from([",", ":"]))
def test_every_combination_selects_what_ansible_selects(
    nested: Path, parts: list[str], separator: str
) -> None:
    """Unions, intersections, exclusions and subscripts agree with Ansible's own code.

    Where nothing is selected or a part matches nothing, Ansible is told to fail.
    """
    pattern = separator.join(parts)
    try:
        chosen = {host.name for host in select(read_inventory(nested), pattern)}
    except InventoryError:
        chosen = set()
    assert chosen == _by_ansible(nested, pattern)


def _by_ansible(path: Path, pattern: str) -> set[str]:
    from ansible import constants  # type: ignore[import-untyped]  # noqa: PLC0415
    from ansible.errors import AnsibleError  # type: ignore[import-untyped]  # noqa: PLC0415
    from ansible.inventory.manager import (  # type: ignore[import-untyped]  # noqa: PLC0415
        InventoryManager,
    )
    from ansible.parsing.dataloader import (  # type: ignore[import-untyped]  # noqa: PLC0415
        DataLoader,
    )

    constants.HOST_PATTERN_MISMATCH = "error"
    manager = InventoryManager(loader=DataLoader(), sources=[str(path)])
    try:
        return {str(host.name) for host in manager.get_hosts(pattern)}
    except AnsibleError:
        return set()
