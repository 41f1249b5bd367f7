"""Celery: the steps of a run as tasks, a few lines each, and where they run."""
