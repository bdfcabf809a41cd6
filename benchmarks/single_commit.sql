insert into commit_floor (
    shard_id, seq, epoch, format, portfolio_id, version, kind, transaction_id, transaction_id_given, transaction_type,
    instrument_id, quantity, price, value, fee, effective_at, recorded_at, row_hash
) values (
    0, nextval('commit_floor_seq'), 1, 1, 'BENCH-0001', currval('commit_floor_seq'), 'BOOKED', gen_random_uuid(), false,
    'BUY', 'INSTRUMENT-01', 1.5, 101.25, 151.88, 0, now(), now(), sha256('BENCH-0001')
);
