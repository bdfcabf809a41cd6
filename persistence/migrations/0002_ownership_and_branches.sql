-- Leases, the actor that is meant to own a shard, shards that branch off others, and books set apart.

alter table cluster add column doubling_to integer;

alter table shards
    -- The actor that is to own the shard: another one of an earlier move must not claim it. Null: whichever comes.
    add column actor text,
    -- The owner that serves, or served last: one that claimed and died before it served has not outlasted it. Null if it
    -- let go of the shard in good order.
    add column answering text,
    -- How long that one may answer after it last proved to own the shard.
    add column lease_ms integer not null default 0,
    -- When it last did so while idle. Commits move head_seq instead.
    add column renewed_at timestamptz,
    -- The shard holds the portfolios with crc32(portfolio_id) mod modulus = shard_id.
    add column modulus integer,
    -- A shard that came of doubling: its journal goes on from this row of its parent's, with that row's hash.
    add column parent_shard integer references shards (shard_id),
    add column branch_seq bigint not null default 0,
    add column branch_hash bytea not null default '\x';
update shards set modulus = cluster.shard_count from cluster;
alter table shards alter column modulus set not null;

-- Books that could not be trusted when their shard recovered: they answer nothing until an operator has looked.
create table quarantine (
    portfolio_id text collate "C" primary key,
    shard_id integer not null,
    reason text not null,
    since timestamptz not null default now()
);
