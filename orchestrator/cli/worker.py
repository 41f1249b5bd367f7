"""`orchestrate worker`: join a cluster and serve some of its queues."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli import options
from orchestrator.cli.broker import open_broker, warn_of
from orchestrator.errors import UsageError
from orchestrator.model.queue import parse_queues
from tasks.broker import forgetfulness, open_client

if TYPE_CHECKING:
    from orchestrator.cli.invocation import Invocation


@options.command(
    "worker",
    click.Option(
        ["--serve"],
        default="deploy,build.x86_64-linux",
        show_default=True,
        metavar="QUEUES",
        help="Queues to serve, separated by commas: deploy, build.<system>[.cuda][.rocm].",
    ),
    click.Option(["--concurrency"], default=8, show_default=True, help="Steps at the same time."),
    options.BROKER,
)
def command(invocation: Invocation, serve: str, concurrency: int) -> int:
    """Serve a cluster's queues until interrupted."""
    queues = parse_queues(serve)
    if invocation.broker is None:
        raise UsageError(
            message="a worker needs a broker that others reach",
            hint='name one with --broker, or with broker = "rediss://…" in orchestrate.toml',
        )
    # Celery takes half a second to import: only the commands that use it pay.
    from tasks.worker import serve as serve_queues  # noqa: PLC0415

    with open_broker(invocation) as url:
        warn_of(forgetfulness(open_client(url)))
        click.echo(f"serving {', '.join(queues)}; Ctrl-C ends it, after what it is busy with")
        return serve_queues(queues, url, concurrency)
