-- name: create_migrations
-- Which migrations this database has seen; the first thing made in it.
create table if not exists schema_migrations (
    number integer primary key,
    name text not null,
    applied_at timestamptz not null default now()
);

-- name: lock_migrations
-- Two services that start at once on one database migrate one after the other.
select pg_advisory_xact_lock(7315209648);

-- name: select_migrations
-- What has been applied already.
select number from schema_migrations;

-- name: insert_migration
-- Remembers a migration in the transaction that applied it.
insert into schema_migrations (number, name) values (%(number)s, %(name)s);

-- name: create_cluster
-- The shard count is fixed by whoever comes first; later starts read it.
insert into cluster (shard_count, link_secret) values (%(shard_count)s, %(link_secret)s) on conflict do nothing;

-- name: create_shards
-- One row a shard, so that a claim is an update and never an insert that could race.
insert into shards (shard_id, modulus)
select generate_series(0, shard_count - 1), shard_count from cluster
on conflict do nothing;

-- name: select_cluster
-- What every process of the cluster has to agree on.
select shard_count, link_secret, doubling_to from cluster;

-- name: select_signs_of_life
-- Every shard, with what changes while its owner lives.
select shard_id, actor, epoch, head_seq, renewed_at from shards;

-- name: select_migration_names
-- A backup names its schema, so that an older version refuses to restore it.
select name from schema_migrations order by number;

-- name: lift_time_limits
-- A backup counts and copies everything, which no limit for serving fits.
select set_config('statement_timeout', '0', false), set_config('idle_in_transaction_session_timeout', '0', false);

-- name: export_snapshot
-- One moment for the manifest and for pg_dump, however much is committed in between.
select pg_export_snapshot(), now(), current_setting('server_version');

-- name: select_heads
-- Where each shard says its journal ends, and where it does.
select
    shards.shard_id,
    shards.head_seq,
    encode(shards.head_hash, 'hex'),
    coalesce(last.seq, shards.branch_seq),
    encode(coalesce(last.row_hash, shards.branch_hash), 'hex')
from shards
left join lateral (
    select seq, row_hash from journal where journal.shard_id = shards.shard_id order by seq desc limit 1
) as last on true
order by shards.shard_id;

-- name: count_rows
-- What a restore must bring back, counted by table.
select 'journal', count(*) from journal
union all select 'portfolios', count(*) from portfolios
union all select 'positions', count(*) from positions
union all select 'marks', count(*) from marks
union all select 'quarantine', count(*) from quarantine
union all select 'instrument_prices', count(*) from instrument_prices;

-- name: try_to_lock_migrations
-- A restore keeps a service that starts meanwhile from making tables under it, and another restore away.
select pg_try_advisory_lock(7315209648);

-- name: select_relations
-- What a database holds besides what Postgres and its extensions put there.
select format('%I.%I', pg_namespace.nspname, pg_class.relname)
from pg_class
join pg_namespace on pg_namespace.oid = pg_class.relnamespace
where pg_class.relkind in ('r', 'p', 'v', 'm', 'S', 'f')
  and pg_namespace.nspname !~ '^pg_' and pg_namespace.nspname <> 'information_schema'
  and not exists (
      select from pg_depend
      where classid = 'pg_class'::regclass and objid = pg_class.oid and deptype = 'e'
  )
order by 1;

-- name: drop_relations
-- Takes back a restore that turned out wrong; the database was empty before it.
do $$
declare
    found regclass;
begin
    for found in
        select pg_class.oid
        from pg_class
        join pg_namespace on pg_namespace.oid = pg_class.relnamespace
        where pg_class.relkind in ('r', 'p')
          and pg_namespace.nspname !~ '^pg_' and pg_namespace.nspname <> 'information_schema'
          and not exists (
              select from pg_depend
              where classid = 'pg_class'::regclass and objid = pg_class.oid and deptype = 'e'
          )
    loop
        execute format('drop table if exists %s cascade', found);
    end loop;
end $$;

-- name: free_shards
-- Nobody owns a restored shard, so its first owner waits for no lease and any actor may be the one. The leap in epochs
-- keeps out whoever of the former cluster has claimed the shard since the backup and still writes to this address.
update shards set owner = null, answering = null, actor = null, renewed_at = null, epoch = epoch + 1000000;

-- name: analyze
-- Gives the planner its statistics at once rather than some time later.
analyze;

-- name: claim_shard
-- A new incarnation takes the shard: whoever had the old epoch can append no more. An actor that is not the one meant to
-- own the shard gets nothing; the first of all becomes that one.
update shards
set epoch = epoch + 1, owner = %(owner)s, claimed_at = now(), actor = coalesce(actor, %(actor)s)
where shard_id = %(shard_id)s and (%(actor)s::text is null or actor is null or actor = %(actor)s)
returning
    epoch, head_seq, head_hash, checkpoint_seq, announced_seq, modulus, branch_seq, branch_hash, answering, lease_ms;

-- name: look_at_shard
-- What a claim would give, for a successor that reads ahead.
select
    epoch, head_seq, head_hash, checkpoint_seq, announced_seq, modulus, branch_seq, branch_hash, answering, lease_ms
from shards
where shard_id = %(shard_id)s;

-- name: select_owners
-- Who owns each shard and which actor is meant to, for a standby that looks for shards of its node.
select shard_id, owner, actor from shards order by shard_id;

-- name: designate_heir
-- A standby says that it is to own the shard of an owner whose process has ended. One that let go of the shard is named no
-- more; and where Ray or another standby was quicker, another owner is, or another actor is meant. It may have to say so
-- twice, if it did not hear the answer.
update shards
set actor = %(heir)s
where shard_id = %(shard_id)s and owner = %(predecessor)s
  and (actor is not distinct from %(actor)s or actor = %(heir)s);

-- name: select_actor
-- Which actor is meant to own a shard.
select actor from shards where shard_id = %(shard_id)s;

-- name: begin_answering
-- The claimant has outlasted the owner before it. From here on, a later claimant has to outlast this one.
update shards
set answering = owner, lease_ms = %(lease_ms)s, renewed_at = clock_timestamp()
where shard_id = %(shard_id)s and owner = %(owner)s;

-- name: renew_lease
-- An idle owner proves that it owns the shard. A write, so that a Postgres that was cut off from its standby cannot say yes.
-- The epoch does not tell: a reclaim of the owner's own may have raised it, and its answer be on its way.
update shards set renewed_at = clock_timestamp() where shard_id = %(shard_id)s and owner = %(owner)s;

-- name: release_shard
-- The owner lets go, having acknowledged its last write and given its last answer: nobody has to outlast it.
update shards
set owner = null, answering = null, actor = coalesce(%(successor)s, actor)
where shard_id = %(shard_id)s and owner = %(owner)s;

-- name: reclaim_shard
-- The same incarnation after a lost connection: a new epoch, so that whatever it sent before the loss either has
-- committed by the time this returns, or never will.
update shards
set epoch = epoch + 1
where shard_id = %(shard_id)s and owner = %(owner)s
returning epoch, head_seq, head_hash;

-- name: select_owner
-- Whether what looks like corruption is the work of a newer owner.
select owner from shards where shard_id = %(shard_id)s;

-- name: append_journal
-- Fence and append in one round trip. No row is inserted unless this epoch owns the shard and the journal ends where
-- this owner thinks it does.
with fence as (
    update shards
    set head_seq = head_seq + %(count)s::bigint, head_hash = %(head_hash)s::bytea
    where shard_id = %(shard_id)s and epoch = %(epoch)s and head_seq = %(head_seq)s
    returning 1
)
insert into journal (
    shard_id, epoch, seq, format, portfolio_id, version, kind, transaction_id, transaction_id_given, transaction_type,
    instrument_id, quantity, price, value, fee, detail, idempotency_key, request_hash, effective_at, recorded_at,
    row_hash
)
select %(shard_id)s, %(epoch)s, rows.*
from unnest(
    %(seq)s::bigint[], %(format)s::smallint[], %(portfolio_id)s::text[], %(version)s::bigint[], %(kind)s::text[],
    %(transaction_id)s::uuid[], %(transaction_id_given)s::boolean[], %(transaction_type)s::text[],
    %(instrument_id)s::text[], %(quantity)s::numeric[], %(price)s::numeric[], %(value)s::numeric[],
    %(fee)s::numeric[], %(detail)s::jsonb[], %(idempotency_key)s::text[], %(request_hash)s::bytea[],
    %(effective_at)s::timestamptz[], %(recorded_at)s::timestamptz[], %(row_hash)s::bytea[]
) as rows
where exists (select 1 from fence);

-- name: select_journal_tail
-- What a recovering shard replays on top of the checkpoint, in order.
select
    seq, epoch, format, portfolio_id, version, kind, transaction_id, transaction_id_given, transaction_type,
    instrument_id, quantity, price, value, fee, detail, idempotency_key, request_hash, effective_at, recorded_at,
    row_hash
from journal
where shard_id = %(shard_id)s and seq > %(after_seq)s and seq <= %(until_seq)s
order by seq;

-- name: select_life
-- All that happened to one portfolio, whichever shards it lived in, and the hash that each row is chained to: that of
-- the row before it, or of the row where its shard branched off another.
select
    case when journal.seq = shards.branch_seq + 1 then shards.branch_hash else before.row_hash end as previous_hash,
    journal.shard_id,
    journal.seq, journal.epoch, journal.format, journal.portfolio_id, journal.version, journal.kind,
    journal.transaction_id, journal.transaction_id_given, journal.transaction_type, journal.instrument_id,
    journal.quantity, journal.price, journal.value, journal.fee, journal.detail, journal.idempotency_key,
    journal.request_hash, journal.effective_at, journal.recorded_at, journal.row_hash
from journal
left join shards on shards.shard_id = journal.shard_id
left join journal as before on before.shard_id = journal.shard_id and before.seq = journal.seq - 1
where journal.portfolio_id = %(portfolio_id)s
order by journal.version;

-- name: select_row_hash
-- Where the hash chain stood at the checkpoint.
select row_hash from journal where shard_id = %(shard_id)s and seq = %(seq)s;

-- name: select_recent_keys
-- The newest idempotency keys of a shard, so that most retries are known without asking.
select portfolio_id, idempotency_key, request_hash
from journal
where shard_id = %(shard_id)s and seq > %(after_seq)s and request_hash is not null
order by seq;

-- name: find_keys
-- Which of these keys were used in these portfolios, and for what.
select journal.portfolio_id, journal.idempotency_key, journal.request_hash
from unnest(%(portfolio_ids)s::text[], %(keys)s::text[]) as asked (portfolio_id, key)
join journal on journal.portfolio_id = asked.portfolio_id and journal.idempotency_key = asked.key
where journal.request_hash is not null;

-- name: find_transaction_ids
-- Which of these ids, given by callers, are taken.
select transaction_id from journal where transaction_id_given and transaction_id = any(%(ids)s::uuid[]);

-- name: select_unannounced
-- Portfolios whose newest version may not have reached the event stream before a crash. Rows from before a shard branched
-- off are its parents'; the portfolios among them that did not come along are told from those that did by the caller.
with recursive line as (
    select shard_id, parent_shard, branch_seq, head_seq as until_seq from shards where shard_id = %(shard_id)s
    union all
    select shards.shard_id, shards.parent_shard, shards.branch_seq, line.branch_seq
    from line
    join shards on shards.shard_id = line.parent_shard
)
select distinct journal.portfolio_id
from line
join journal on journal.shard_id = line.shard_id and journal.seq > %(after_seq)s and journal.seq <= line.until_seq;

-- name: select_line
-- A shard and those that it came of by splits, oldest first. Together, the rows of each after `branch_seq` and up to
-- `until_seq` are one journal without a gap.
with recursive line as (
    select shard_id, parent_shard, branch_seq, head_seq as until_seq, 0 as depth
    from shards
    where shard_id = %(shard_id)s
    union all
    select shards.shard_id, shards.parent_shard, shards.branch_seq, line.branch_seq, line.depth + 1
    from line
    join shards on shards.shard_id = line.parent_shard
)
select shard_id, branch_seq, until_seq from line order by depth desc;

-- name: double_modulus
-- First in the transaction of a split, under the row's lock. Without the checkpoint at the head, nothing happens.
update shards
set modulus = 2 * modulus
where shard_id = %(shard_id)s and owner = %(owner)s and modulus = %(modulus)s and checkpoint_seq = head_seq;

-- name: insert_branch
-- The new shard goes on from where the old one's journal stands, and its checkpoint with it; and from its epoch, since a
-- Redis may remember one of an earlier life of that shard.
insert into shards (
    shard_id, epoch, modulus, actor, parent_shard, branch_seq, branch_hash, head_seq, head_hash, checkpoint_seq, announced_seq
)
select
    shard_id + %(modulus)s, epoch, modulus, %(actor)s, shard_id, head_seq, head_hash, head_seq, head_hash, checkpoint_seq,
    announced_seq
from shards
where shard_id = %(shard_id)s;

-- name: move_checkpoints
-- The checkpoint of the portfolios that go with the new shard is there already; it changes hands.
update portfolios
set shard_id = %(shard_id)s + %(modulus)s
where shard_id = %(shard_id)s and portfolio_id = any(%(moving)s::text[]);

-- name: move_quarantine
-- So do those that are set apart.
update quarantine
set shard_id = %(shard_id)s + %(modulus)s
where shard_id = %(shard_id)s and portfolio_id = any(%(moving)s::text[]);

-- name: select_modulus
-- Whether a split has happened whose answer was lost. The lock waits for what the lost connection still has in hand.
select modulus from shards where shard_id = %(shard_id)s and owner = %(owner)s for update;

-- name: select_shards
-- Every shard, what it holds, and which actor is meant to own it.
select shard_id, modulus, actor from shards order by shard_id;

-- name: begin_doubling
-- Says what the shards are being doubled to, so that whoever comes after an interruption goes on with that.
update cluster set doubling_to = %(count)s where doubling_to is null and %(count)s = 2 * shard_count;

-- name: finish_doubling
-- Every shard has split: the new number is the cluster's.
update cluster
set shard_count = doubling_to, doubling_to = null
where doubling_to = (select count(*) from shards) and not exists (select from shards where modulus <> doubling_to);

-- name: select_history
-- One portfolio's life up to a version, for states of the past.
select
    seq, epoch, format, portfolio_id, version, kind, transaction_id, transaction_id_given, transaction_type,
    instrument_id, quantity, price, value, fee, detail, idempotency_key, request_hash, effective_at, recorded_at,
    row_hash
from journal
where portfolio_id = %(portfolio_id)s
  and version <= %(version)s
  and (effective_at <= %(effective_at)s or kind = 'OPENED')
order by version;

-- name: select_transactions
-- A page of a portfolio's transactions, newest first.
select
    transaction_id, version, instrument_id, transaction_type, quantity, price, value, fee, effective_at, recorded_at,
    idempotency_key
from journal
where portfolio_id = %(portfolio_id)s and version < %(before_version)s and kind = 'BOOKED'
order by version desc
limit %(limit)s;

-- name: read_one_snapshot
-- First in a transaction of several reads that have to fit together.
set transaction isolation level repeatable read read only;

-- name: select_checkpoint_seq
-- The row as of which the checkpoint is.
select checkpoint_seq from shards where shard_id = %(shard_id)s;

-- name: select_portfolio_checkpoints
-- The books of a shard as they were at the checkpoint, without their positions.
select
    portfolio_id, name, base_currency, allow_short, min_cash, status, version, cash, realized_pnl, income, fees, taxes,
    net_deposits, transfers_at_cost, created_at, updated_at
from portfolios
where shard_id = %(shard_id)s;

-- name: select_position_checkpoints
-- The positions of those books.
select
    positions.portfolio_id, instrument_id, quantity, cost_basis, positions.realized_pnl, trade_mark_price,
    trade_mark_time, last_updated
from positions
join portfolios on portfolios.portfolio_id = positions.portfolio_id
where portfolios.shard_id = %(shard_id)s;

-- name: select_changed_portfolios
-- Whose books a checkpoint may hold anew since the one at an earlier row.
select distinct portfolio_id
from journal
where shard_id = %(shard_id)s and seq > %(after_seq)s and seq <= %(checkpoint_seq)s;

-- name: select_some_portfolio_checkpoints
-- A few of a shard's books, for a standby that has the others.
select
    portfolio_id, name, base_currency, allow_short, min_cash, status, version, cash, realized_pnl, income, fees, taxes,
    net_deposits, transfers_at_cost, created_at, updated_at
from portfolios
where shard_id = %(shard_id)s and portfolio_id = any(%(portfolio_ids)s::text[]);

-- name: select_some_position_checkpoints
-- The positions of those books.
select
    positions.portfolio_id, instrument_id, quantity, cost_basis, positions.realized_pnl, trade_mark_price,
    trade_mark_time, last_updated
from positions
where portfolio_id = any(%(portfolio_ids)s::text[]);

-- name: upsert_portfolio_checkpoints
-- Brings the books that changed up to the checkpoint; what an opening fixed is written too, so that it mends what was
-- damaged there.
insert into portfolios (
    shard_id, portfolio_id, name, base_currency, allow_short, min_cash, status, version, total_value, cash,
    realized_pnl, income, fees, taxes, net_deposits, transfers_at_cost, created_at, updated_at
)
select %(shard_id)s, rows.*
from unnest(
    %(portfolio_id)s::text[], %(name)s::text[], %(base_currency)s::text[], %(allow_short)s::boolean[],
    %(min_cash)s::numeric[], %(status)s::text[], %(version)s::bigint[], %(total_value)s::numeric[],
    %(cash)s::numeric[], %(realized_pnl)s::numeric[], %(income)s::numeric[], %(fees)s::numeric[], %(taxes)s::numeric[],
    %(net_deposits)s::numeric[], %(transfers_at_cost)s::numeric[], %(created_at)s::timestamptz[],
    %(updated_at)s::timestamptz[]
) as rows
on conflict (portfolio_id) do update
set name = excluded.name, base_currency = excluded.base_currency, allow_short = excluded.allow_short,
    min_cash = excluded.min_cash, created_at = excluded.created_at, status = excluded.status,
    version = excluded.version, total_value = excluded.total_value, cash = excluded.cash,
    realized_pnl = excluded.realized_pnl, income = excluded.income, fees = excluded.fees, taxes = excluded.taxes,
    net_deposits = excluded.net_deposits, transfers_at_cost = excluded.transfers_at_cost,
    updated_at = excluded.updated_at;

-- name: upsert_position_checkpoints
-- Brings their positions up to the checkpoint; rows that did not change are not written again.
insert into positions (
    portfolio_id, instrument_id, position_type, quantity, cost_basis, realized_pnl, trade_mark_price, trade_mark_time,
    mark_price, market_value, weight, unrealized_pnl, last_updated
)
select *
from unnest(
    %(portfolio_id)s::text[], %(instrument_id)s::text[], %(position_type)s::text[], %(quantity)s::numeric[],
    %(cost_basis)s::numeric[], %(realized_pnl)s::numeric[], %(trade_mark_price)s::numeric[],
    %(trade_mark_time)s::timestamptz[], %(mark_price)s::numeric[], %(market_value)s::numeric[], %(weight)s::numeric[],
    %(unrealized_pnl)s::numeric[], %(last_updated)s::timestamptz[]
)
on conflict (portfolio_id, instrument_id) do update
set position_type = excluded.position_type, quantity = excluded.quantity, cost_basis = excluded.cost_basis,
    realized_pnl = excluded.realized_pnl, trade_mark_price = excluded.trade_mark_price,
    trade_mark_time = excluded.trade_mark_time, mark_price = excluded.mark_price,
    market_value = excluded.market_value, weight = excluded.weight, unrealized_pnl = excluded.unrealized_pnl,
    last_updated = excluded.last_updated
where (positions.quantity, positions.cost_basis, positions.realized_pnl, positions.trade_mark_price,
       positions.trade_mark_time, positions.mark_price, positions.weight, positions.last_updated)
    is distinct from (excluded.quantity, excluded.cost_basis, excluded.realized_pnl, excluded.trade_mark_price,
       excluded.trade_mark_time, excluded.mark_price, excluded.weight, excluded.last_updated);

-- name: delete_closed_positions
-- A position at zero leaves the checkpoint too.
delete from positions
using unnest(%(portfolio_id)s::text[], %(instrument_id)s::text[]) as closed (portfolio_id, instrument_id)
where positions.portfolio_id = closed.portfolio_id and positions.instrument_id = closed.instrument_id;

-- name: finish_checkpoint
-- Last in the checkpoint's transaction, so that the shard's row is locked for the commit alone; a deposed owner's
-- checkpoint is rolled back.
update shards
set checkpoint_seq = %(checkpoint_seq)s, announced_seq = %(announced_seq)s
where shard_id = %(shard_id)s and epoch = %(epoch)s;

-- name: select_quarantine
-- Books that the checkpoint has passed by: a recovering shard makes them anew from all of their rows.
select portfolio_id, reason from quarantine where shard_id = %(shard_id)s;

-- name: upsert_quarantine
-- Fenced, so that a deposed owner sets nothing apart. The moment stays that of the first time.
with owned as (select 1 from shards where shard_id = %(shard_id)s and epoch = %(epoch)s for share)
insert into quarantine (portfolio_id, shard_id, reason)
select rows.portfolio_id, %(shard_id)s, rows.reason
from unnest(%(portfolio_id)s::text[], %(reason)s::text[]) as rows (portfolio_id, reason)
where exists (select 1 from owned)
on conflict (portfolio_id) do update
set shard_id = excluded.shard_id, reason = excluded.reason;

-- name: delete_quarantine
-- In the transaction that saves their books: until then the checkpoint does not have what it passed by.
delete from quarantine where portfolio_id = any(%(portfolio_ids)s::text[]);

-- name: find_quarantined
-- Whether one portfolio is in quarantine, why, and since when.
select reason, since from quarantine where portfolio_id = %(portfolio_id)s;

-- name: upsert_marks
-- The newest as_of of an instrument wins; rows come sorted, so that two requests cannot deadlock.
insert into marks (instrument_id, price, as_of)
select * from unnest(%(instrument_id)s::text[], %(price)s::numeric[], %(as_of)s::timestamptz[])
on conflict (instrument_id) do update
set price = excluded.price, as_of = excluded.as_of, recorded_at = clock_timestamp()
where excluded.as_of > marks.as_of
returning instrument_id;

-- name: select_marks
-- Marks recorded since a moment; all of them for a recovering shard.
select instrument_id, price, as_of, recorded_at from marks where recorded_at >= %(since)s order by recorded_at;

-- name: allow_long_work_on_prices
-- Years of prices take longer than serving may, and so does another load that has come first.
select
    set_config('statement_timeout', '0', true),
    set_config('lock_timeout', '0', true),
    set_config('idle_in_transaction_session_timeout', '10min', true);

-- name: create_incoming_prices
-- Prices arrive here, so that what they change can be told, and the table's lock is held for that alone.
create temporary table incoming_prices (
    instrument_id text collate "C",
    price_date date,
    close numeric(28, 8),
    adjusted_close numeric(28, 8),
    primary key (instrument_id, price_date)
) on commit drop;

-- name: copy_incoming_prices
-- The fastest way in.
copy incoming_prices from stdin;

-- name: lock_prices
-- Loads change prices one after the other, so two that have days in common cannot deadlock.
select generation from price_generation for update;

-- name: update_changed_prices
-- A correction, or an adjustment for a split since; what is already so is not written again.
update instrument_prices
set close = incoming.close, adjusted_close = incoming.adjusted_close, recorded_at = clock_timestamp()
from incoming_prices as incoming
where instrument_prices.instrument_id = incoming.instrument_id
  and instrument_prices.price_date = incoming.price_date
  and (instrument_prices.close, instrument_prices.adjusted_close) <> (incoming.close, incoming.adjusted_close);

-- name: insert_new_prices
-- The days that were not there, counted; in order, so that a range of days of an instrument is on few pages.
with added as (
    insert into instrument_prices (instrument_id, price_date, close, adjusted_close)
    select instrument_id, price_date, close, adjusted_close
    from incoming_prices
    order by instrument_id, price_date
    on conflict do nothing
    returning instrument_id
)
select count(*), count(distinct instrument_id) from added;

-- name: advance_price_generation
-- By the clock, so that a database restored from a backup does not come to a number that it has had with other prices.
update price_generation
set generation = greatest(generation + 1, (extract(epoch from clock_timestamp()) * 1000000)::bigint);

-- name: select_price_generation
-- Whether prices have changed since something was computed from them.
select generation from price_generation;

-- name: select_closes_csv
-- Prices for a panel: one row an instrument, as handing over each day by itself costs several times as much.
select string_agg(instrument_id || ',' || price_date || ',' || close || ',' || adjusted_close || E'\n', '')
from instrument_prices
where price_date between %(first)s and %(last)s
  and (%(instrument_ids)s::text[] is null or instrument_id = any(%(instrument_ids)s::text[]))
group by instrument_id;

-- name: select_closes_at
-- The newest close of each instrument whose day was over at a moment: its last microsecond counts as over.
select asked.instrument_id, latest.price_date, latest.close
from unnest(%(instrument_ids)s::text[]) as asked (instrument_id)
cross join lateral (
    select price_date, close
    from instrument_prices
    where instrument_prices.instrument_id = asked.instrument_id
      and price_date < (%(moment)s::timestamptz at time zone 'UTC' + interval '1 microsecond')::date
    order by price_date desc
    limit 1
) as latest;

-- name: ping
-- Whether Postgres answers.
select 1;

-- name: hold_snapshot
-- An audit reads for minutes and thinks in between: neither cuts its transaction short.
select
    set_config('statement_timeout', '0', true),
    set_config('idle_in_transaction_session_timeout', '10min', true);

-- name: choose_scans
-- An audit reads the table once and its indexes once, whatever the planner thinks of that.
select
    set_config('enable_seqscan', %(heap)s, true),
    set_config('enable_indexscan', %(index)s, true),
    set_config('enable_indexonlyscan', %(index)s, true),
    set_config('enable_bitmapscan', 'off', true),
    set_config('enable_sort', %(heap)s, true);

-- name: select_audited_shards
-- What each shard's rows and checkpoint are measured against.
select shard_id, modulus, epoch, head_seq, head_hash, checkpoint_seq, parent_shard, branch_seq, branch_hash
from shards
order by shard_id;

-- name: select_quarantined
-- Portfolios that are known to be broken already.
select portfolio_id, shard_id, reason from quarantine order by portfolio_id;

-- name: select_strays
-- Rows of the journal and books of the checkpoint that no shard would ever read.
select 'journal', shard_id, min(portfolio_id), count(*)
from journal
where shard_id < 0 or shard_id > (select max(shard_id) from shards)
group by shard_id
union all
select 'checkpoint', shard_id, min(portfolio_id), count(*)
from portfolios
where shard_id not in (select shard_id from shards)
group by shard_id;

-- name: select_row_without_content
-- A row whose content the driver cannot read, or the next one after a place in a journal.
select seq, epoch, portfolio_id, row_hash
from journal
where shard_id = %(shard_id)s and seq > %(after_seq)s
order by seq
limit 1;

-- name: audit_portfolios
-- The books of a shard's checkpoint, without positions, in an order in which positions can be merged.
select
    portfolio_id, name, base_currency, allow_short, min_cash, status, version, cash, realized_pnl, income, fees, taxes,
    net_deposits, transfers_at_cost, created_at, updated_at, total_value
from portfolios
where shard_id = %(shard_id)s
order by portfolio_id;

-- name: audit_positions
-- The positions of those books, in the same order, with what was computed from them.
select
    positions.portfolio_id, instrument_id, quantity, cost_basis, positions.realized_pnl, trade_mark_price,
    trade_mark_time, last_updated, position_type, mark_price, market_value, weight, unrealized_pnl
from positions
join portfolios on portfolios.portfolio_id = positions.portfolio_id
where portfolios.shard_id = %(shard_id)s
order by positions.portfolio_id, instrument_id;

-- name: count_audited_rows
-- How many rows a scan finds, of the table or of an index.
select shard_id, count(*) from journal group by shard_id order by shard_id;

-- name: select_repeated_keys
-- Idempotency keys that were accepted twice: the unique index should know, so the table is asked.
select portfolio_id, idempotency_key, min(seq), count(*)
from journal
where request_hash is not null
group by portfolio_id, idempotency_key
having count(*) > 1;

-- name: select_histories
-- Every portfolio's life as the index of versions has it.
select portfolio_id, seq, row_hash from journal order by portfolio_id, version;

-- name: select_later_rows
-- What was booked in these portfolios after one version and up to another.
select
    seq, epoch, format, journal.portfolio_id, version, kind, transaction_id, transaction_id_given, transaction_type,
    instrument_id, quantity, price, value, fee, detail, idempotency_key, request_hash, effective_at, recorded_at,
    row_hash
from unnest(%(portfolio_ids)s::text[], %(after)s::bigint[], %(through)s::bigint[])
    as asked (portfolio_id, after_version, through_version)
join journal on journal.portfolio_id = asked.portfolio_id
    and journal.version > asked.after_version and journal.version <= asked.through_version
order by journal.portfolio_id, version;

-- name: count_known_heads
-- How many of these rows the journal still has: all of them, unless it is that of another time or place.
select count(*)
from unnest(%(shard_ids)s::integer[], %(seqs)s::bigint[], %(hashes)s::bytea[]) as known (shard_id, seq, row_hash)
join journal using (shard_id, seq, row_hash);

-- name: select_last_rows
-- The newest row of each shard that has any of its own.
select shards.shard_id, last.seq, last.row_hash
from shards
join lateral (
    select seq, row_hash from journal where journal.shard_id = shards.shard_id order by seq desc limit 1
) as last on true
order by shards.shard_id;

-- name: copy_transactions
-- Every transaction between two rows of each shard, as text for a frame: moments in microseconds since 1970.
copy (
    select
        portfolio_id, version, transaction_id, instrument_id, transaction_type, quantity, price, value, fee,
        (extract(epoch from effective_at) * 1000000)::bigint,
        (extract(epoch from recorded_at) * 1000000)::bigint
    from unnest(%(shard_ids)s::integer[], %(after)s::bigint[], %(through)s::bigint[])
        as asked (shard_id, after_seq, through_seq)
    join journal on journal.shard_id = asked.shard_id
        and journal.seq > asked.after_seq and journal.seq <= asked.through_seq
    where kind = 'BOOKED'
    order by journal.shard_id, journal.seq
) to stdout with (format csv);
