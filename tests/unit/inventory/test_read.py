"""What variables mean, and what is refused with which words."""

from __future__ import annotations

from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

from inventory.host import (
    Become,
    BecomeMethod,
    Builder,
    Host,
    HostKeyPolicy,
    JumpHost,
    Licence,
    LlamaSource,
    TargetScope,
)
from inventory.read import read_inventory
from orchestrator.errors import InventoryError

if TYPE_CHECKING:
    from pathlib import Path


def _write(directory: Path, text: str) -> Path:
    path = directory / "inventory.yml"
    path.write_text(dedent(text))
    return path


def _carbon(directory: Path, variables: str) -> Host:
    text = f"all: {{hosts: {{carbon: {{{variables}}}, boron: {{ansible_host: b.lan}}}}}}"
    return read_inventory(_write(directory, text)).host("carbon")


def _refused(directory: Path, text: str) -> InventoryError:
    with pytest.raises(InventoryError) as caught:
        read_inventory(_write(directory, text))
    return caught.value


def test_ansibles_connection_variables_are_understood(tmp_path: Path) -> None:
    """Address, port, user, key and become mean what they mean in Ansible."""
    host = _carbon(
        tmp_path,
        "ansible_host: c.lan, ansible_port: 2222, ansible_user: me, "
        "ansible_ssh_private_key_file: keys/id, ansible_become: true, "
        "ansible_become_method: doas, orchestrate_become_password_file: /run/pw",
    )
    assert (host.connection.address, host.connection.port) == ("c.lan", 2222)
    assert host.connection.user == "me"
    assert host.connection.identity_file == str(tmp_path / "keys/id")
    assert host.become == Become(BecomeMethod.DOAS, "root", "/run/pw")


@pytest.mark.parametrize(
    ("variables", "method"),
    [
        ("", BecomeMethod.NONE),
        ("ansible_user: me", BecomeMethod.SUDO),
        ("ansible_user: me, ansible_become: false", BecomeMethod.NONE),
        ("ansible_become: true", BecomeMethod.NONE),
        ("ansible_ssh_user: me", BecomeMethod.SUDO),
    ],
)
def test_become_is_needed_by_every_user_but_root(
    tmp_path: Path, variables: str, method: BecomeMethod
) -> None:
    """A login that isn't root becomes it unless that is switched off."""
    become = _carbon(tmp_path, variables).become
    assert become.method is method
    assert become.needed is (method is not BecomeMethod.NONE)


@pytest.mark.parametrize(
    ("variables", "jump"),
    [
        ("orchestrate_jump: boron", JumpHost("b.lan")),
        ("orchestrate_jump: 'me@[fe80::1]:2200'", JumpHost("fe80::1", 2200, "me")),
        ("orchestrate_jump: 'me@fe80::1'", JumpHost("fe80::1", 22, "me")),
        ("ansible_ssh_common_args: '-J me@gate:2200'", JumpHost("gate", 2200, "me")),
        ("ansible_ssh_common_args: '-Jgate'", JumpHost("gate")),
        ("ansible_ssh_common_args: '-oProxyJump=gate'", JumpHost("gate")),
        ("ansible_ssh_common_args: '-o \"ProxyJump gate\"'", JumpHost("gate")),
        ("ansible_ssh_common_args: '-o proxyjump=boron'", JumpHost("b.lan")),
        ("ansible_ssh_common_args: ''", None),
    ],
)
def test_a_jump_host_is_understood(tmp_path: Path, variables: str, jump: JumpHost | None) -> None:
    """A jump is a host of the inventory, an address, or ssh's own options."""
    assert _carbon(tmp_path, variables).connection.jump == jump


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ("ansible_ssh_common_args: '-o ProxyCommand=evil'", "orchestrate_jump"),
        ("ansible_ssh_common_args: '-p 22'", "ansible_port"),
        ("ansible_ssh_common_args: '-o StrictHostKeyChecking=no'", "orchestrate_host_key_policy"),
        ("ansible_ssh_common_args: '-J \"-oProxyCommand=evil\"'", "host name"),
        ("orchestrate_jump: carbon", "its own jump host"),
        ("orchestrate_jump: 'a,b'", "several"),
        ("ansible_connection: local", "ansible_host: localhost"),
        ("ansible_connection: docker", "every host is reached by ssh"),
        ("ansible_become_password: hunter2", "orchestrate_become_password_file"),
        ("ansible_password: hunter2", "plain text"),
        ("ansible_become_method: su", "sudo, doas or run0"),
        ("ansible_port: ssh", "whole number"),
        ("ansible_port: true", "whole number"),
        ("ansible_port: 70000", "65535"),
        ("ansible_host: '-oProxyCommand=evil'", "host name"),
        ("ansible_user: 'a b'", "login name"),
        ("ansible_host: '{{ base }}'", "does not evaluate templates"),
        ("ansible_host: !vault x", "does not decrypt"),
        ("orchestrate_deploy: maybe", "true or false"),
        ("orchestrate_host_key_policy: accept_new", "accept-new"),
        ("orchestrate_smoke_tokens: 0", "at least 1"),
        ("orchestrate_smoke_timeout: .inf", "above zero"),
        ("orchestrate_builder: true", "a mapping"),
        ("orchestrate_builder: {}", "x86_64-linux"),
        ("orchestrate_builder: {system: x86_64-linux}", "systems"),
        ("orchestrate_builder: {systems: ['a b']}", "builder system"),
        ("orchestrate_lama_variant: cuda", "did you mean orchestrate_llama_variant"),
        ("orchestrate_serial: 1", "vars of the group all"),
        ("orchestrate_nixos_name: 'a${b}'", "NixOS name"),
    ],
)
def test_a_wrong_variable_names_the_host_and_the_way_out(
    tmp_path: Path, variables: str, words: str
) -> None:
    """Every refusal says which host, and what to write instead."""
    with pytest.raises(InventoryError) as caught:
        _carbon(tmp_path, variables)
    assert caught.value.host == "carbon"
    assert words in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_encrypted_and_looked_up_passwords_are_left_alone(tmp_path: Path) -> None:
    """An inventory shared with Ansible may hold references to its secrets."""
    host = _carbon(
        tmp_path,
        'ansible_become_password: !vault x, ansible_password: \'{{ lookup("env", "P") }}\'',
    )
    assert host.name == "carbon"


def test_our_variables_are_understood(tmp_path: Path) -> None:
    """Variant, name, host key, policy and smoke reach the host's type."""
    host = _carbon(
        tmp_path,
        "orchestrate_llama_variant: cuda, orchestrate_force_variant: true, "
        "orchestrate_nixos_name: c, orchestrate_host_key_policy: accept-new, "
        "orchestrate_host_key: ssh-ed25519 AAAAC3Nz me@x, orchestrate_known_hosts: kh, "
        "orchestrate_smoke_model: m.gguf, orchestrate_smoke_min_tokens_per_second: 2.5",
    )
    assert (host.variant_pin, host.force_variant, host.nixos_name) == ("cuda", True, "c")
    assert host.connection.host_key_policy is HostKeyPolicy.ACCEPT_NEW
    assert host.connection.host_key == "ssh-ed25519 AAAAC3Nz me@x"
    assert host.connection.known_hosts_file == str(tmp_path / "kh")
    assert host.smoke.model == str(tmp_path / "m.gguf")
    assert host.smoke.min_tokens_per_second == 2.5


def test_a_builder_is_no_target_unless_asked_for(tmp_path: Path) -> None:
    """Builders are left out of deployments by default, and can be put in."""
    builder = "orchestrate_builder: {systems: [x86_64-linux], features: kvm, max_jobs: 3}"
    host = _carbon(tmp_path, builder)
    assert host.builder == Builder(("x86_64-linux",), ("kvm",), 3)
    assert not host.deploy
    assert _carbon(tmp_path, f"{builder}, orchestrate_deploy: true").deploy


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (".", "{here}"),
        ("./nix?dir=x#y", "{here}/nix?dir=x#y"),
        ("existing", "{here}/existing"),
        ("nixpkgs", "nixpkgs"),
        ("github:me/config/branch", "github:me/config/branch"),
        ("git+ssh://git@host/repo", "git+ssh://git@host/repo"),
        ("path:./nix", "path:{here}/nix"),
        ("/etc/nixos", "/etc/nixos"),
    ],
)
def test_a_flake_is_a_reference_or_a_path_beside_the_inventory(
    tmp_path: Path, written: str, read: str
) -> None:
    """Paths become absolute, since workers run elsewhere; references stay."""
    (tmp_path / "existing").mkdir()
    text = f"all: {{vars: {{orchestrate_flake: '{written}'}}, hosts: {{carbon: }}}}"
    flake = read_inventory(_write(tmp_path, text)).fleet.flake
    assert flake == read.format(here=tmp_path)


@pytest.mark.parametrize(
    ("written", "serial"),
    [("5", (5,)), ("'30%'", ("30%",)), ("[1, '10%', '2']", (1, "10%", 2))],
)
def test_serial_is_numbers_and_percentages(
    tmp_path: Path, written: str, serial: tuple[int | str, ...]
) -> None:
    """Batches are written as for Ansible's serial."""
    text = f"all: {{vars: {{orchestrate_serial: {written}}}, hosts: {{carbon: }}}}"
    assert read_inventory(_write(tmp_path, text)).fleet.rollout.serial == serial


@pytest.mark.parametrize("written", ["0", "'0%'", "'101%'", "-1", "[]", "[1, a]", "true", "{}"])
def test_a_serial_of_nothing_is_refused(tmp_path: Path, written: str) -> None:
    """A batch without hosts would never end."""
    text = f"all: {{vars: {{orchestrate_serial: {written}}}, hosts: {{carbon: }}}}"
    assert "orchestrate_serial" in _refused(tmp_path, text).message


def test_what_is_built_is_the_inventorys(tmp_path: Path) -> None:
    """The package's source is a host's or a group's, GPUs and licences are the fleet's."""
    text = """
        all:
          vars:
            orchestrate_llama_source: nixpkgs
            orchestrate_gpu_targets: per-host
            orchestrate_accept_licences: cuda
          hosts:
            carbon:
            boron: {orchestrate_llama_source: upstream, orchestrate_llama_web_ui: false}
    """
    read = read_inventory(_write(tmp_path, text))
    assert read.host("carbon").llama_source is LlamaSource.NIXPKGS
    assert read.host("boron").llama_source is LlamaSource.UPSTREAM
    assert (read.host("carbon").web_ui, read.host("boron").web_ui) == (True, False)
    assert read.fleet.gpu_targets is TargetScope.PER_HOST
    assert read.fleet.accept_licences == (Licence.CUDA,)


def test_what_is_built_without_a_word(tmp_path: Path) -> None:
    """Upstream's package, one build for the fleet's GPUs, and no licence accepted."""
    read = read_inventory(_write(tmp_path, "all: {hosts: {carbon: }}"))
    assert read.host("carbon").llama_source is LlamaSource.UPSTREAM
    assert read.fleet.gpu_targets is TargetScope.PER_FLEET
    assert read.fleet.accept_licences == ()


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("orchestrate_llama_source: nixpkg", "nixpkgs"),
        ("orchestrate_gpu_targets: per-hosts", "per-host"),
        ("orchestrate_accept_licences: [cuda, cude]", "cuda"),
        ("orchestrate_accept_licences: true", ""),
    ],
)
def test_a_misspelt_choice_is_suggested(tmp_path: Path, written: str, hint: str) -> None:
    """The error names the variable and what was probably meant."""
    error = _refused(tmp_path, f"all: {{vars: {{{written}}}, hosts: {{carbon: }}}}")
    assert written.partition(":")[0] in error.message
    assert hint in error.hint


def test_the_evaluator_must_be_a_builder(tmp_path: Path) -> None:
    """Evaluation runs on the controller or on a host that builds."""
    text = "all: {vars: {orchestrate_evaluate_on: carbon}, hosts: {carbon: }}"
    assert "orchestrate_evaluate_on" in _refused(tmp_path, text).message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("all:\n  hosts:\n    carbon:\n    carbon:\n", "inventory.yml:4: key 'carbon' is there"),
        ("all:\n  vars: {a: 1, a: 2}\n  hosts: {carbon: }", "inventory.yml:2: key 'a'"),
        ("all: [", "inventory.yml:1"),
        ("", "must map"),
        ("- carbon\n", "must map"),
        ("all: {host: {carbon: }}", "did you mean hosts"),
        ("all: {hosts: [carbon]}", "write `name:` with a colon"),
        ("all: {hosts: {1: }}", "quotation marks"),
        ("all: {children: {a: {children: {b: {children: {a: }}}}}}", "child of itself"),
        ("a: {children: {b: }}\nb: {children: {c: }}\nc: {children: {a: }}", "itself"),
        ("all: &a {children: {b: *a}}", "child of itself"),
        ("all: {hosts: {'carbon boron': }}", "host name"),
        ("all: {children: {'a b': }}", "group name"),
        ("all: {vars: {x: !!python/name:os.system }}", "inventory.yml:1"),
        ("g: {vars: {ansible_group_priority: high}}", "expected a whole number"),
        ("all: {vars: {orchestrate_flak: x}}", "did you mean orchestrate_flake"),
    ],
)
def test_a_malformed_file_is_an_error_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    """Mistakes are named with file, line and remedy; nothing is skipped."""
    assert words in str(_refused(tmp_path, text))


def test_a_missing_inventory_says_how_to_make_one(tmp_path: Path) -> None:
    """The first thing that a new user sees says what to do."""
    with pytest.raises(InventoryError) as caught:
        read_inventory(tmp_path / "nothing.yml")
    assert "orchestrate init" in caught.value.hint


def test_without_ansible_the_need_for_it_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An INI file on a machine without Ansible is an error that names the way out."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python3"))
    ini = tmp_path / "hosts"
    ini.write_text("[gpu]\nnitrogen\n")
    with pytest.raises(InventoryError, match="is not named") as caught:
        read_inventory(ini)
    assert "install ansible-core" in caught.value.hint
