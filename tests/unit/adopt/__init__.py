"""Pure functions and scripts of orchestrator/adopt/."""
