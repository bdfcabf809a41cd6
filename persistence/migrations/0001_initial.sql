-- The first schema: who owns a shard, the journal, the checkpoint, the marks.

create table cluster (
    singleton boolean primary key default true check (singleton),
    shard_count integer not null check (shard_count between 1 and 4096),
    link_secret bytea not null,
    created_at timestamptz not null default now()
);

-- Each commit updates its shard's row, so the row stays on a page with room for its next versions.
create table shards (
    shard_id integer primary key,
    epoch bigint not null default 0,
    owner text,
    claimed_at timestamptz,
    head_seq bigint not null default 0,
    head_hash bytea not null default '\x',
    checkpoint_seq bigint not null default 0,
    announced_seq bigint not null default 0
) with (fillfactor = 10, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);

-- The write-ahead log and the only truth: one row an entry, gapless within a shard, never changed.
create table journal (
    shard_id integer not null,
    seq bigint not null,
    epoch bigint not null,
    format smallint not null,
    portfolio_id text collate "C" not null,
    version bigint not null,
    kind text not null check (kind in ('OPENED', 'BOOKED', 'STATUS')),
    transaction_id uuid,
    transaction_id_given boolean not null,
    transaction_type text,
    instrument_id text collate "C",
    quantity numeric(28, 8),
    price numeric(28, 8),
    value numeric(24, 2),
    fee numeric(24, 2),
    detail jsonb,
    idempotency_key text collate "C",
    request_hash bytea,
    effective_at timestamptz not null,
    recorded_at timestamptz not null,
    row_hash bytea not null,
    constraint journal_pkey primary key (shard_id, seq),
    constraint journal_version_key unique (portfolio_id, version)
);
-- All rows of an update bear its key; the first one, which alone has the request's hash, makes it unique.
create unique index journal_idempotency_key on journal (portfolio_id, idempotency_key)
    where request_hash is not null;
create unique index journal_transaction_id_key on journal (transaction_id)
    where transaction_id_given;

create view portfolio_transactions as
    select
        transaction_id as id,
        portfolio_id,
        instrument_id,
        transaction_type,
        quantity,
        price,
        value as transaction_value,
        effective_at as transaction_date
    from journal
    where kind = 'BOOKED';

-- The checkpoint: every book as of shards.checkpoint_seq. Values and weights are at the marks of that moment; they can
-- be larger than the amounts that are booked, because a market price is not bounded by what somebody paid.
create table portfolios (
    id bigint generated always as identity primary key,
    shard_id integer not null,
    portfolio_id text collate "C" not null unique,
    name text not null,
    base_currency text not null,
    allow_short boolean not null,
    min_cash numeric(24, 2),
    status text not null,
    version bigint not null,
    total_value numeric(38, 2) not null,
    cash numeric(24, 2) not null,
    realized_pnl numeric(24, 6) not null,
    income numeric(24, 2) not null,
    fees numeric(24, 2) not null,
    taxes numeric(24, 2) not null,
    net_deposits numeric(24, 2) not null,
    transfers_at_cost numeric(24, 6) not null,
    created_at timestamptz not null,
    updated_at timestamptz not null
);
create index portfolios_shard on portfolios (shard_id);

create table positions (
    id bigint generated always as identity primary key,
    portfolio_id text collate "C" not null references portfolios (portfolio_id),
    instrument_id text collate "C" not null,
    position_type text not null check (position_type in ('LONG', 'SHORT')),
    quantity numeric(28, 8) not null,
    cost_basis numeric(24, 6) not null,
    realized_pnl numeric(24, 6) not null,
    trade_mark_price numeric(28, 8) not null,
    trade_mark_time timestamptz not null,
    mark_price numeric(28, 8) not null,
    market_value numeric(38, 2) not null,
    weight numeric(38, 6),
    unrealized_pnl numeric(38, 2) not null,
    last_updated timestamptz not null,
    unique (portfolio_id, instrument_id)
);

-- The newest market price of each instrument; recorded_at lets a shard find what it has not seen yet.
create table marks (
    instrument_id text collate "C" primary key,
    price numeric(28, 8) not null,
    as_of timestamptz not null,
    recorded_at timestamptz not null default clock_timestamp()
);
create index marks_recorded_at on marks (recorded_at);
