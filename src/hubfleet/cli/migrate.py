"""`hubfleet migrate adopt`: the namespaces that users of the originals have become their users' here."""

import asyncio
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hubfleet.cli.settings import config_option, readable_errors
from hubfleet.errors import HubFailed, SettingsError
from hubfleet.identity.directory import user_names
from hubfleet.identity.user import User
from hubfleet.kube.clusters import Cluster, Clusters
from hubfleet.kube.errors import KubeError
from hubfleet.settings import Settings, read
from hubfleet.tenancy.adoption import FINE, Adopter, Finding, Outcome

AT_ONCE = 8
"""Users whose namespaces are looked at at the same time, on each cluster."""

COLUMNS = ("cluster", "user", "namespace", "outcome", "detail")

ATTENTION = 1
"""The exit code where a line of the report needs attention, or a cluster or the Hub did not answer."""


@click.group()
def migrate() -> None:
    """Take over what users of the originals have."""


@migrate.command()
@config_option
@click.option("--cluster", help="Only this cluster of the settings, instead of all.")
@click.option(
    "--users",
    type=click.Path(path_type=Path, dir_okay=False, exists=True, allow_dash=True),
    help="A file with one name of a user of the Hub in each line (- is standard input); without it, the Hub "
    "is asked for all of them, with hub.api_token, which needs the scope list:users.",
)
@click.option(
    "--by-name", is_flag=True, help="Believe a namespace's name, where nothing else says whose it is."
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
def adopt(
    *, config: str | None, cluster: str | None, users: Path | None, by_name: bool, dry_run: bool
) -> None:
    """Mark the namespaces that users of kbatch and multicluster-kubespawner have as these users'.

    They are those that tenancy.namespace leads to: kbatch, multicluster-kubespawner, or {user} for kbatch
    before 0.5. Nothing is moved or made. The exit code is 0 where nothing needs attention, else 1.
    """
    with readable_errors():
        settings = read(config)
        names = None if users is None else listed(users)
        adopter = Adopter(
            settings.tenancy.namespace,
            hub=settings.hub.name,
            kbatch_labels=settings.tenancy.labels_of_kbatch,
            by_name=by_name,
            dry_run=dry_run,
        )
        try:
            findings, failures = asyncio.run(run(settings, adopter, cluster or "", names))
        except HubFailed as e:
            click.echo(f"the Hub does not tell its users, and --users says none: {e}", err=True)
            sys.exit(ATTENTION)
    report(findings, failures, dry_run=dry_run)
    if failures or any(finding.outcome not in FINE for finding in findings):
        sys.exit(ATTENTION)


def listed(path: Path) -> list[str]:
    """The names in a file, one in each line; empty lines are none."""
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise SettingsError([f"--users {path}: {e}"]) from e
    return [name for line in text.splitlines() if (name := line.strip())]


async def run(
    settings: Settings, adopter: Adopter, only: str, names: Sequence[str] | None
) -> tuple[list[Finding], list[str]]:
    """The findings, in the order of clusters and users, and what went wrong besides."""
    known = [cluster.name for cluster in settings.clusters]
    if only and only not in known:
        raise SettingsError([f"--cluster {only}: there is: {', '.join(known)}"])
    if names is None:
        names = await user_names(settings.hub)
    users = [User(name=name) for name in dict.fromkeys(names)]
    findings: list[Finding] = []
    failures: list[str] = []
    async with Clusters(settings.clusters) as clusters:
        chosen = [cluster for cluster in clusters.values() if only in ("", cluster.name)]
        for results in await asyncio.gather(*(_on(cluster, adopter, users) for cluster in chosen)):
            findings += [result for result in results if isinstance(result, Finding)]
            failures += [result for result in results if isinstance(result, str)]
    return findings, failures


async def _on(cluster: Cluster, adopter: Adopter, users: Iterable[User]) -> list[Finding | str]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(user: User) -> Finding | str:
        async with gate:
            try:
                return await adopter.adopt(cluster, user)
            except KubeError as e:
                return f"{cluster.name}: {user.name}: {e}"

    return await asyncio.gather(*map(one, users))


def report(findings: Sequence[Finding], failures: Sequence[str], *, dry_run: bool) -> None:
    """A table for people on a terminal, lines with tabs for everything else; then a count of each outcome."""
    console = Console(highlight=False)
    rows = [(f.cluster, f.user, f.namespace, f.outcome.value, f.detail) for f in findings]
    if console.is_terminal:
        table = Table(*COLUMNS)
        for row in rows:
            table.add_row(
                *(Text(_printable(cell)) for cell in row), style=None if row[3] in FINE else "yellow"
            )
        console.print(table)
    else:
        click.echo("\n".join("\t".join(map(_printable, row)) for row in (COLUMNS, *rows)))
    counts = Counter(finding.outcome for finding in findings)
    parts = [f"{counts[outcome]} {outcome.value}" for outcome in Outcome if counts[outcome]]
    say = f"{', '.join(parts) or 'no users'}{' (dry run: nothing was written)' if dry_run else ''}"
    click.echo(say, err=True)
    for failure in failures:
        click.echo(f"failed: {failure}", err=True)


def _printable(text: str) -> str:
    # A name may hold what moves a terminal's cursor, or a tab.
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
