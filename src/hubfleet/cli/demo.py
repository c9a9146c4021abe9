"""`hubfleet demo`: everything on one machine, from nothing to a finished job."""

import signal
import sys
import threading
from pathlib import Path
from types import FrameType

import click
from rich.console import Console
from rich.markup import escape

from hubfleet.demo.folder import Folder, folder
from hubfleet.demo.process import ProcessFailed, free_port
from hubfleet.demo.stage import CLUSTERS, Stage, raised
from hubfleet.demo.story import StoryFailed, Terminal, tell

EXAMPLE = Path(__file__).parents[3] / "examples" / "pi"


@click.command()
@click.option("--once", is_flag=True, help="Run the example to its end; exit 0 only if everything worked.")
@click.option(
    "--kbatch",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="The real kbatch client (0.5), in an environment of its own.",
)
@click.option(
    "--node",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="The folder that holds configurable-http-proxy.",
)
@click.option(
    "--project",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=EXAMPLE,
    help="The user's project: job.yaml, cronjob.yaml and their code.",
)
@click.option("--port", default=8000, show_default=True, help="The Hub's port, if it is free.")
def demo(*, once: bool, kbatch: Path, node: Path, project: Path, port: int) -> None:
    """Two Kubernetes clusters, a JupyterHub and hubfleet, on this machine alone."""
    console = Console(highlight=False)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with folder() as place:
            _run(console, place, once, kbatch.absolute(), node.absolute(), project.absolute(), port)
    except (ProcessFailed, StoryFailed) as failure:
        # The reason comes last, where people look.
        if isinstance(failure, ProcessFailed):
            _show_log(console, failure.name, failure.log)
        console.print(f"\n[red]demo: failed[/red]: {escape(str(failure))}", soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("\ndemo: stopped")
        sys.exit(130 if once else 0)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _run(
    console: Console, place: Folder, once: bool, kbatch: Path, node: Path, project: Path, port: int
) -> None:
    console.print("[bold]Starting two clusters, a JupyterHub and hubfleet[/bold]")

    def ready(name: str, address: str, seconds: float) -> None:
        console.print(f"  {name:9} {address:48} ready in {seconds:.1f} s", soft_wrap=True)

    if not once and free_port(port) != port:
        console.print(f"  port {port} is taken: JupyterHub gets another one")
    with raised(place, node=node, port=0 if once else port, tell=ready) as stage:
        terminal = Terminal(
            kbatch,
            place.path / "home",
            project,
            lambda line: console.print(line, markup=False, soft_wrap=True),
        )
        try:
            tell(stage, terminal, lambda text: console.print(f"\n[bold]{text}[/bold]"))
        except StoryFailed:
            for process in stage.processes:
                _show_log(console, process.name, process.tail())
            raise
        if once:
            console.print("\ndemo: ok")
            return
        _invite(console, stage, kbatch)
        threading.Event().wait()


def _show_log(console: Console, name: str, lines: str) -> None:
    console.print(f"\n--- the last lines of {name}\n{lines}", markup=False, soft_wrap=True)


def _invite(console: Console, stage: Stage, kbatch: Path) -> None:
    console.print(
        f"""
[bold green]demo: ok[/bold green], and still serving. Ctrl-C ends it and removes everything that it made.

  JupyterHub   {stage.addresses.url}   any user name, any password; you land on the page that issues tokens
  the client   export PATH={kbatch.parent}:$PATH
               kbatch configure --kbatch-url {stage.addresses.service_url} --token {stage.token_for("ada")}
  clusters     {", ".join(stage.cluster_url(name) for name in CLUSTERS)}
  kubectl      export KUBECONFIG={stage.kubeconfig}   (contexts {", ".join(CLUSTERS)})
  logs         {stage.directory}""",
        soft_wrap=True,
    )
