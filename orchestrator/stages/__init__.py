"""The stages of a deployment, each a file of its name."""
