"""Pure functions and scripts of orchestrator/state/."""
