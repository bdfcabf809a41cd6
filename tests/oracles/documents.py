"""Documents made whole from a book, each position anew: what putting them together from parts must give."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Final

from actors.documents import (
    EventDocument,
    EventPosition,
    PositionDocument,
    PositionType,
    StateDocument,
    UpdatedPortfolio,
    moment,
    number,
)
from portfolio import money
from portfolio.book import Book
from portfolio.entries import derived_id
from portfolio.valuation import MarkSource, Valuation, ValuedPosition

_ONE: Final = Decimal("1.000000")


def state_document(book: Book, valuation: Valuation) -> StateDocument:
    """The full document of a valued book; positions by instrument, cash last."""
    positions = [_position(item, valuation) for item in valuation.positions]
    positions.append(_cash_position(book, valuation))
    return StateDocument(
        portfolio_id=book.portfolio_id,
        portfolio_name=book.portfolio_name,
        base_currency=book.base_currency,
        status=book.status,
        version=book.version,
        total_value=valuation.total_value,
        cash_balance=book.cash,
        realized_pnl=book.realized_pnl,
        unrealized_pnl=valuation.unrealized_pnl,
        income=book.income,
        fees=book.fees,
        taxes=book.taxes,
        gross_exposure=valuation.gross_exposure,
        net_exposure=valuation.net_exposure,
        positions=positions,
        weights={position.instrument_id: position.weight for position in positions},
        last_updated=moment(valuation.last_updated),
    )


def event_document(book: Book, valuation: Valuation, timestamp: datetime) -> EventDocument:
    """What the stream says once `book` is committed."""
    return EventDocument(
        event_id=str(derived_id(book.portfolio_id, book.version)),
        timestamp=moment(timestamp),
        portfolio_state_updated=UpdatedPortfolio(
            portfolio_id=book.portfolio_id,
            total_value=valuation.total_value,
            cash_balance=book.cash,
            positions=[
                EventPosition(
                    instrument_id=item.position.instrument_id,
                    quantity=number(item.position.quantity),
                    market_value=item.market_value,
                    weight=valuation.weight(item.market_value),
                    unrealized_pnl=item.unrealized_pnl,
                )
                for item in valuation.positions
            ],
            last_updated=moment(valuation.last_updated),
        ),
    )


def _position(item: ValuedPosition, valuation: Valuation) -> PositionDocument:
    held = item.position
    return PositionDocument(
        instrument_id=held.instrument_id,
        position_type=PositionType.LONG if held.quantity > 0 else PositionType.SHORT,
        quantity=number(held.quantity),
        market_value=item.market_value,
        weight=valuation.weight(item.market_value),
        unrealized_pnl=item.unrealized_pnl,
        cost_basis=held.cost_basis,
        average_cost=money.round6(money.divide(held.cost_basis, held.quantity)),
        realized_pnl=held.realized_pnl,
        mark_price=number(item.mark.price),
        mark_time=moment(item.mark.time),
        mark_source=item.source,
        last_updated=moment(held.last_updated),
    )


def _cash_position(book: Book, valuation: Valuation) -> PositionDocument:
    updated = moment(book.last_updated)
    return PositionDocument(
        instrument_id=book.base_currency,
        position_type=PositionType.CASH,
        quantity=book.cash,
        market_value=book.cash,
        weight=valuation.weight(book.cash),
        unrealized_pnl=money.ZERO_2,
        cost_basis=money.add(book.cash, money.ZERO_6),
        average_cost=_ONE,
        realized_pnl=money.ZERO_6,
        mark_price=_ONE,
        mark_time=updated,
        mark_source=MarkSource.TRADE,
        last_updated=updated,
    )
