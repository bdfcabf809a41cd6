"""The sample: portfolios that trade real stocks at real closing prices, made by chance from a seed."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from cluster.sample_chance import Chance
from cluster.sample_life import TRANSACTIONS_MIN, Life
from cluster.sample_prices import Prices
from portfolio.commands import ChangeStatus, OpenPortfolio, UpdatePortfolio
from portfolio.ids import IdempotencyKey, PortfolioId
from portfolio.status import Status

SEED: Final = 20_221_228
PORTFOLIO_COUNT: Final = 1_000
TRANSACTION_COUNT: Final = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How a portfolio is run. `share` of 20 portfolios are run so; `fractional` ones hold parts of units."""

    share: int
    mandates: tuple[str, ...]
    allow_short: bool
    min_cash: Decimal | None
    fractional: bool = False


_STYLES: Final = (
    Style(
        share=12,
        mandates=("Core Equity", "Dividend Income", "Large Cap Value", "Balanced Growth", "Low Volatility"),
        allow_short=False,
        min_cash=Decimal(0),
    ),
    Style(share=3, mandates=("Savings Plan",), allow_short=False, min_cash=Decimal(0), fractional=True),
    Style(share=4, mandates=("Long/Short", "Market Neutral"), allow_short=True, min_cash=None),
    Style(share=1, mandates=("Margin Equity",), allow_short=False, min_cash=Decimal(-250_000)),
)
_STYLE_OF_20: Final = tuple(style for style in _STYLES for _ in range(style.share))
_NAMES: Final = """
Alder Ashby Beaumont Birch Calder Carver Dalton Delacroix Eastwood Ellery Fairbanks Fenwick Garrick Granger Hale Hawthorne
Ingram Ives Jarvis Keller Kingsley Larkin Lindqvist Marlowe Mercer Nakamura Norwood Okafor Osborne Pemberton Quincy Ramsey
Rosales Sinclair Sterling Thackeray Underhill Vasquez Whitlock Yardley
"""
_FAMILIES: Final = tuple(_NAMES.split())
_KINDS: Final = ("Family Trust", "Pension Fund", "Foundation", "Endowment", "Retirement Account")


@dataclass(frozen=True, slots=True)
class SamplePortfolio:
    """A portfolio's opening, and what is asked of it afterwards, in order. Every command has an idempotency key."""

    opening: OpenPortfolio
    commands: tuple[UpdatePortfolio | ChangeStatus, ...]


def sample_shares(portfolio_count: int, transaction_count: int) -> dict[PortfolioId, int]:
    """How many transactions each portfolio has: PORTFOLIO-0001 and so on. Raises ValueError below 45 for each."""
    each, rest = divmod(transaction_count, portfolio_count)
    if each < TRANSACTIONS_MIN:
        raise ValueError(f"{each} transactions a portfolio, expected at least {TRANSACTIONS_MIN}")
    return {PortfolioId(f"PORTFOLIO-{index + 1:04}"): each + (index < rest) for index in range(portfolio_count)}


def last_key(portfolio_id: PortfolioId) -> IdempotencyKey:
    """The key of a portfolio's last command: where it is known, the portfolio is complete."""
    return IdempotencyKey(f"sample:{portfolio_id}:last")


def sample_commands(
    prices: Prices,
    *,
    seed: int = SEED,
    portfolio_count: int = PORTFOLIO_COUNT,
    transaction_count: int = TRANSACTION_COUNT,
    skip: Container[PortfolioId] = (),
) -> Iterator[SamplePortfolio]:
    """The portfolios of the sample but those in `skip`; together they have exactly `transaction_count` transactions.

    The same for the same arguments on every machine, and each portfolio the same whichever others are skipped. The last
    three show what a status does: one SUSPENDED, one LIQUIDATING and one CLOSED. Raises ValueError below 45 transactions
    a portfolio.
    """
    for index, (portfolio_id, share) in enumerate(sample_shares(portfolio_count, transaction_count).items()):
        if portfolio_id not in skip:
            chance = Chance(f"{seed}:{portfolio_id}")
            style = _STYLE_OF_20[index * 7 % 20]  # 7 and 20 share no factor, so neighbours differ in style.
            life = Life(
                prices,
                chance,
                opening=_opening(portfolio_id, index, style),
                is_fractional=style.fractional,
                transaction_count=share,
            )
            life.live(_last_status(index, portfolio_count))
            yield _keyed(life)


def _last_status(index: int, portfolio_count: int) -> Status:
    lasts = {1: Status.CLOSED, 2: Status.LIQUIDATING, 3: Status.SUSPENDED}
    return lasts.get(portfolio_count - index, Status.ACTIVE)


def _opening(portfolio_id: PortfolioId, index: int, style: Style) -> OpenPortfolio:
    family, kind = _FAMILIES[index % len(_FAMILIES)], _KINDS[index // len(_FAMILIES) % len(_KINDS)]
    mandate = style.mandates[index // (len(_FAMILIES) * len(_KINDS)) % len(style.mandates)]
    return OpenPortfolio(
        portfolio_id=portfolio_id,
        portfolio_name=f"{family} {kind}, {mandate}",
        allow_short=style.allow_short,
        min_cash=style.min_cash,
    )


def _keyed(life: Life) -> SamplePortfolio:
    portfolio_id = life.opening.portfolio_id
    keys = [IdempotencyKey(f"sample:{portfolio_id}:{number}") for number in range(len(life.commands))]
    keys.append(last_key(portfolio_id))
    return SamplePortfolio(
        replace(life.opening, idempotency_key=keys[0]),
        tuple(replace(command, idempotency_key=key) for command, key in zip(life.commands, keys[1:], strict=True)),
    )
