"""`python -m orchestrator`: the command line from a checkout, without installing it."""

from __future__ import annotations

from orchestrator.cli.main import main

if __name__ == "__main__":
    main()
