"""Pure functions and scripts of orchestrator/cli/."""
