"""The fleet in a box: real hosts on one machine, for tests, benchmarks and the demo.

with running_lab() as lab:
    lab["carbon"].ssh("nix", "--version")
"""

from tests.lab.controller import Controller
from tests.lab.host import Endpoint, Host
from tests.lab.lab import Lab, running_lab, why_not
from tests.lab.processes import CommandFailedError, LabError
from tests.lab.spec import DEFAULT_FLEET, HostSpec, fleet, named

__all__ = [
    "DEFAULT_FLEET",
    "CommandFailedError",
    "Controller",
    "Endpoint",
    "Host",
    "HostSpec",
    "Lab",
    "LabError",
    "fleet",
    "named",
    "running_lab",
    "why_not",
]
