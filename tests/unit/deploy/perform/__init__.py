"""Pure functions and scripts of orchestrator/deploy/perform/."""
