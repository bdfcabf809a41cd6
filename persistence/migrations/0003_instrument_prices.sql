-- Daily prices, and a number by which caches of what is computed from them tell that there are others.

-- `close` is in the units of its day: what was held that day, times it, is what that was worth. `adjusted_close` has later
-- splits, and dividends where the source takes them out, taken out of it: returns are made of it.
create table instrument_prices (
    instrument_id text collate "C" not null,
    price_date date not null,
    close numeric(28, 8) not null check (close > 0 and close <> 'NaN'),
    adjusted_close numeric(28, 8) not null check (adjusted_close > 0 and adjusted_close <> 'NaN'),
    recorded_at timestamptz not null default clock_timestamp(),
    primary key (instrument_id, price_date)
);

create table price_generation (
    singleton boolean primary key default true check (singleton),
    generation bigint not null default 0
);
insert into price_generation default values;
