"""Hardware-optimised llama.cpp on a fleet of NixOS machines."""

import sys
from importlib import import_module

# structlog takes rich where it finds it, to draw tracebacks that our log of JSON has
# no use for: a tenth of a command's start. None keeps a module from being imported.
if "rich" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment]
    import_module("structlog")
    del sys.modules["rich"]
