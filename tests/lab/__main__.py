"""`python -m tests.lab`: see `tests.lab.cli`."""

from tests.lab.cli import main

main()
