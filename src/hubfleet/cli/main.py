"""The command `hubfleet`: each subcommand is a module of its own, imported when it is asked for."""

from importlib import import_module
from importlib.metadata import version

import click

COMMANDS = {
    "controller": "Do what must run once for all servers: collect what dead submissions left behind.",
    "demo": "Two Kubernetes clusters, a JupyterHub and hubfleet, on this machine alone.",
    "hubproxy": "Program a gateway with the routes of a JupyterHub, in place of configurable-http-proxy.",
    "migrate": "Take over what users of the originals have.",
    "rbac": "Print the rights that hubfleet needs on each cluster, as YAML for kubectl.",
    "serve": "Serve the users of a JupyterHub.",
}


class LazyGroup(click.Group):
    """`hubfleet --help` costs no import of a server, and `hubfleet serve` none of the demo."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(f"hubfleet.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("hubfleet"), message="%(prog)s %(version)s")
def main() -> None:
    """The compute front door of a JupyterHub."""
