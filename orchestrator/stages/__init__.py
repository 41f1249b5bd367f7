"""The way of a deployment, a file each.

facts, variant, flake, evaluate, plan, build, copy_closure, switch, smoke,
confirm; and rollback, where a smoke says no.
"""
