"""One lab and one fleet on it for all of these tests, deployed to once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.fleet.fleet import BUILDERS, Deployment, Fleet, HostState, new_fleet
from tests.lab import running_lab

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class FirstDeployment:
    """The first deployment of a fleet that had nothing, and the hosts right after it."""

    fleet: Fleet
    deployment: Deployment
    before: dict[str, HostState]
    after: dict[str, HostState]
    builds: tuple[str, ...]


@pytest.fixture(scope="session")
def first_deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FirstDeployment]:
    """Deploy to four machines that run nothing of ours yet."""
    with running_lab() as lab:
        fleet = new_fleet(lab, tmp_path_factory.mktemp("fleet"))
        before = fleet.states()
        deployment = fleet.deploy_json()
        after = fleet.states()
        kept = (lab[name].shell("ls /var/lib/orchestrate/builds") for name in BUILDERS)
        builds = tuple(build for listing in kept for build in listing.split())
        yield FirstDeployment(fleet, deployment, before, after, builds)


@pytest.fixture
def fleet(first_deployment: FirstDeployment) -> Fleet:
    """Return the fleet, deployed to before; a test that breaks a host puts it back."""
    return first_deployment.fleet
