"""A campaign of any size: `python -m tests.differential --commands 200000 --seed 1 --jobs 2`."""

from __future__ import annotations

import sys

import click

from tests.differential.campaign import Figures, campaign, canonical, original
from tests.differential.shells import SHELLS, installed

STEP = 10_000


@click.command()
@click.option("--commands", default=2000, show_default=True, help="Accepted commands to run.")
@click.option("--shells", default=",".join(SHELLS), show_default=True, help="Which, by name.")
@click.option("--seed", default="1", show_default=True, help="The same seed, the same commands.")
@click.option("--jobs", default=1, show_default=True, help="Processes at work.")
@click.option("--as-written", is_flag=True, help="Send the text as it came, not rewritten.")
def main(commands: int, shells: str, seed: str, jobs: int, *, as_written: bool) -> None:
    """Run made-up commands through shells, and compare what ran with what was judged."""
    names = shells.split(",")
    for name in names:
        if name not in SHELLS:
            raise click.BadParameter(
                f"{name} is none of {', '.join(SHELLS)}", param_hint="--shells"
            )
        if not installed(name):
            raise click.ClickException(f"{name} is not installed")

    def progress(figures: Figures) -> None:
        if figures.accepted % STEP == 0:
            click.echo(str(figures), err=True)

    emitter = original if as_written else canonical
    figures = campaign(commands, names, seed, jobs=jobs, emitter=emitter, progress=progress)
    for divergence in figures.divergences[:50]:
        click.echo(str(divergence))
    click.echo(f"seed {seed}, {', '.join(names)}: {figures}")
    sys.exit(1 if figures.divergences else 0)


if __name__ == "__main__":
    main()
