"""What the long-running commands share: the option `--config`, and settings errors that a person can read."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console

from hubfleet.errors import SettingsError
from hubfleet.kube.errors import CredentialsError

WRONG_SETTINGS = 2
"""The exit code: as for wrong options."""

config_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--config",
    type=click.Path(dir_okay=False),
    help="The YAML file with the settings; without one, the environment says it all.",
)


@contextmanager
def readable_errors() -> Iterator[None]:
    """Ends the process with one line for each problem of the settings, instead of a traceback."""
    try:
        yield
    except (SettingsError, CredentialsError) as e:
        _refuse([e])
    except ExceptionGroup as group:
        # What is raised while the application opens comes out of Litestar's task group, wrapped.
        ours, others = group.split((SettingsError, CredentialsError))
        if ours is None or others is not None:
            raise
        _refuse(_leaves(ours))


def _leaves(group: ExceptionGroup[Exception]) -> list[Exception]:
    return [leaf for e in group.exceptions for leaf in (_leaves(e) if isinstance(e, ExceptionGroup) else [e])]


def _refuse(errors: Sequence[Exception]) -> None:
    console = Console(stderr=True, highlight=False)
    console.print("[bold red]hubfleet cannot start with these settings[/bold red]")
    for error in errors:
        for problem in error.problems if isinstance(error, SettingsError) else [str(error)]:
            console.print(f"  {problem}", markup=False, soft_wrap=True)
    sys.exit(WRONG_SETTINGS)
