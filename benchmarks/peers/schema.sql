-- The comparison service: current state in tables, changed under a row lock, with a row for each transaction.

create table portfolios (
    portfolio_id text collate "C" primary key,
    portfolio_name text not null,
    base_currency text not null,
    allow_short boolean not null,
    version bigint not null,
    cash numeric(24, 2) not null,
    realized_pnl numeric(24, 6) not null,
    fees numeric(24, 2) not null,
    net_deposits numeric(24, 2) not null,
    created_at timestamptz not null,
    last_updated timestamptz not null
) with (fillfactor = 70); -- Room for a row's next version on its page.

create table positions (
    portfolio_id text collate "C" not null references portfolios (portfolio_id),
    instrument_id text collate "C" not null,
    quantity numeric(28, 8) not null,
    cost_basis numeric(24, 6) not null,
    realized_pnl numeric(24, 6) not null,
    mark_price numeric(28, 8) not null,
    mark_time timestamptz not null,
    last_updated timestamptz not null,
    primary key (portfolio_id, instrument_id)
) with (fillfactor = 70);

create table transactions (
    portfolio_id text collate "C" not null,
    version bigint not null,
    transaction_id uuid not null,
    transaction_type text not null,
    instrument_id text collate "C" not null,
    quantity numeric(28, 8) not null,
    price numeric(28, 8) not null,
    value numeric(24, 2) not null,
    fee numeric(24, 2) not null,
    effective_at timestamptz not null,
    recorded_at timestamptz not null,
    primary key (portfolio_id, version)
);
