"""`python -m tests.chaos --seed 1 --seed 2 --minutes 10`: chaos runs, one after the other, and their report."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from pathlib import Path

import click

from tests.chaos.kinds import TRAITS, Kind
from tests.chaos.report import keep_history, markdown, write_report
from tests.chaos.run import Outcome, Plan, run
from tests.chaos.schedule import HURRIED, STEADY

SEED_MAX = 10**6


@click.command()
@click.option("--seed", "seeds", type=int, multiple=True, help="What a schedule is made from; at random if not given.")
@click.option("--minutes", default=10.0, show_default=True, help="How long each seed is played.")
@click.option("--report", type=click.Path(path_type=Path), default=Path(".chaos/report"), show_default=True)
@click.option("--only", type=click.Choice([kind.name for kind in Kind]), multiple=True, help="Play these kinds alone.")
@click.option(
    "--without", type=click.Choice([kind.name for kind in Kind]), multiple=True, help="Leave these kinds out."
)
@click.option("--hurried", is_flag=True, help="Faults follow each other closer, as in the short run of the tests.")
@click.option("--keep", is_flag=True, help="Keep the history of a run in which nothing was found, too.")
@click.option("--list", "is_list", is_flag=True, help="Show the kinds of faults, and play nothing.")
def main(
    *,
    seeds: tuple[int, ...],
    minutes: float,
    report: Path,
    only: tuple[str, ...],
    without: tuple[str, ...],
    hurried: bool,
    keep: bool,
    is_list: bool,
) -> None:
    """Play fault schedules against the whole service under load, and judge what its clients were told."""
    if is_list:
        for kind in Kind:
            click.echo(f"{kind.name:<28}{TRAITS[kind].description}")
        return
    kinds = [kind for kind in Kind if kind.name in (only or Kind.__members__) and kind.name not in without]
    pace = HURRIED if hurried else STEADY
    outcomes: list[Outcome] = []
    for seed in seeds or (random.SystemRandom().randrange(SEED_MAX),):
        _say(f"seed {seed}, {minutes:g} minutes")
        outcomes.append(_played(Plan(seed=seed, duration_s=60 * minutes, kinds=kinds, pace=pace)))
        # After each seed, so that a run that is broken off has something to show.
        write_report(outcomes, report)
        kept = report.with_name(f"history-{seed}.jsonl.gz")
        if keep or not outcomes[-1].is_clean:
            keep_history(outcomes[-1], kept)
        if not outcomes[-1].is_clean:
            click.echo(f"{outcomes[-1].logs}\n\nseed {seed}: not every promise was kept; the history is in {kept}")
    click.echo(markdown(outcomes))
    sys.exit(0 if all(outcome.is_clean for outcome in outcomes) else 1)


def _played(plan: Plan) -> Outcome:
    """The outcome of a plan. Ctrl-C and TERM end it in good order, and once: nothing disturbs the clearing away."""

    async def interruptible() -> Outcome:
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await run(plan, _say)

    try:
        return asyncio.run(interruptible())
    except asyncio.CancelledError:
        raise click.Abort from None


def _say(what: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')} {what}")


if __name__ == "__main__":
    main()
