"""Pure functions and scripts of orchestrator/transport/."""
