"""The way of a deployment, a room each, in this order.

facts         what a machine is, as it says itself
variant       which llama.cpp it gets, and why
flake         the flake that Nix evaluates
evaluate      what Nix makes of each machine
plan          what is built where, who goes in which batch
build         one derivation, on a builder, detached
copy_closure  what a machine lacks, signed, by the route that works
activate      switch with the automatic rollback armed; confirm, roll back, boot, reboot
smoke         the installed llama-cli answers, and the user's own check passes

A room imports nothing of another; `store_contents` and `privilege` are what they share.
"""

ROOMS = (
    "facts",
    "variant",
    "flake",
    "evaluate",
    "plan",
    "build",
    "copy_closure",
    "activate",
    "smoke",
)
"""The rooms in the order of the way; `model.stage.Stage` names what happens in them."""
