"""The settings that the embedded Postgres runs with, all given on its command line."""

from pathlib import Path

from persistence.embedded.home import LOOPBACK, ServerHome

# What an acknowledged commit rests on. The command line outranks postgresql.conf and ALTER SYSTEM, no argument of
# ours can change it, and the server is asked for these after each start.
DURABILITY = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "data_checksums": "on"}
# Fixed when initdb made the data, so it cannot be set, only asked for.
SET_BY_INITDB = ("data_checksums",)

# For 2 cores and 24 GB shared with Ray, the shards and the analytics.
RESOURCES = {
    "max_connections": "200",
    "shared_buffers": "256MB",
    "effective_cache_size": "4GB",
    "work_mem": "8MB",
    "maintenance_work_mem": "128MB",
    "max_parallel_workers_per_gather": "1",
    "jit": "off",
    # Files under the data directory, which the next start removes: nothing is left in /dev/shm, which is 64 MB in a
    # container. What comes first out of the reserve in main memory never reaches them.
    "dynamic_shared_memory_type": "mmap",
    "min_dynamic_shared_memory": "32MB",
}
WRITE_AHEAD_LOG = {
    "wal_buffers": "16MB",
    "wal_compression": "on",
    "min_wal_size": "256MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "10min",
    "max_wal_senders": "4",
}
# The row of a shard is updated by each flush: its dead versions have to go before they fill pages.
AUTOVACUUM = {
    "autovacuum_naptime": "10s",
    "autovacuum_vacuum_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.05",
    "autovacuum_vacuum_cost_delay": "1ms",
}
# A week of files, each day's overwritten seven days later. Values of statements are clients' data and stay out.
LOGGING = {
    "logging_collector": "on",
    "log_filename": "postgresql-%a.log",
    "log_file_mode": "0600",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_timezone": "UTC",
    "log_min_duration_statement": "1s",
    "log_parameter_max_length": "0",
    "lc_messages": "C",
}


def server_arguments(home: ServerHome, *, sockets: Path | None, port: int, listen_tcp: bool) -> list[str]:
    """The arguments of `postgres` for the data of `home`, with its sockets (none if None) and port."""
    settings = {
        **RESOURCES,
        **WRITE_AHEAD_LOG,
        **AUTOVACUUM,
        **LOGGING,
        "timezone": "UTC",
        "cluster_name": home.mark,
        "log_directory": str(home.log),
        "port": str(port),
        "listen_addresses": LOOPBACK if listen_tcp else "",
        "unix_socket_directories": str(sockets) if sockets is not None else "",
        "unix_socket_permissions": "0700",
        "password_encryption": "scram-sha-256",
        "allow_alter_system": "off",
        **{name: value for name, value in DURABILITY.items() if name not in SET_BY_INITDB},
    }
    return ["-D", str(home.data), *(word for name, value in settings.items() for word in ("-c", f"{name}={value}"))]
