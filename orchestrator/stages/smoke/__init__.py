"""Whether the new system does its work: llama-cli answers, and the user's own check passes."""
