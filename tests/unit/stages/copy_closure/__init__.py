"""Pure functions and scripts of orchestrator/stages/copy_closure/."""
