"""Pure functions of orchestrator/cli/render/."""
