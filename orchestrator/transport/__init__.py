"""The ways to a host: one shell for many hosts at once, one session with privilege."""

import ctypes.util
from importlib import import_module

# asyncssh looks for liboqs, whose key exchanges are never offered here, and for nettle,
# without whose MACs every sshd does: on Linux that starts ldconfig, gcc and ld for each.
_find = ctypes.util.find_library
ctypes.util.find_library = lambda name: None  # noqa: ARG005 - its signature
try:
    import_module("asyncssh")
finally:
    ctypes.util.find_library = _find
