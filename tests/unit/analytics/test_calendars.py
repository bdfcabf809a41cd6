"""The days of a portfolio are those of what it holds, whatever else there are prices of."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import polars as pl

from analytics.frames import PRICES
from analytics.panel import Calendars, PricePanel, price_panel
from portfolio.ids import InstrumentId

MONDAY = date(2022, 1, 3)
STOCK, COIN, UNKNOWN = InstrumentId("AAPL"), InstrumentId("BTC"), InstrumentId("NONE")


def panel() -> PricePanel:
    """Four weeks of a stock, which rests at weekends, and of a coin, which does not."""
    days = [MONDAY + timedelta(days=number) for number in range(28)]
    rows = [(STOCK, day) for day in days if day.weekday() < 5] + [(COIN, day) for day in days]
    return price_panel(
        pl.DataFrame(
            {
                "instrument_id": [name for name, _ in rows],
                "price_date": [day for _, day in rows],
                "close": [100 + day.day for _, day in rows],
                "adjusted_close": [100 + day.day for _, day in rows],
            },
        ).cast(PRICES)
    )


def test_weekends_are_no_days_of_a_stock() -> None:
    own = Calendars(panel()).of([STOCK])
    assert len(own.days) == 20
    assert not np.isnan(own.returns(19).of([STOCK]).values).any()


def test_a_weekday_without_a_close_is_a_gap() -> None:
    whole = panel()
    closes = whole.adjusted.copy()
    closes[3, whole.instruments.index(STOCK)] = np.nan
    own = Calendars(replace(whole, closes=closes, adjusted=closes)).of([STOCK])
    assert np.isnan(own.returns(19).of([STOCK]).values).sum() == 2


def test_the_days_of_two_are_those_of_either() -> None:
    whole = panel()
    calendars = Calendars(whole)
    assert calendars.of([STOCK, COIN]) is whole
    assert calendars.of([COIN, UNKNOWN]) is calendars.of([COIN])


def test_the_same_days_are_the_same_panel() -> None:
    calendars = Calendars(panel())
    assert calendars.of([STOCK]) is calendars.of([STOCK, UNKNOWN])


def test_what_has_no_prices_has_weekdays() -> None:
    calendars = Calendars(panel())
    assert calendars.of([UNKNOWN]) is calendars.of([]) is calendars.of([STOCK])
