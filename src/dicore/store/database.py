"""What the index asks of a database, and SQLite as the one that is always there. `dicore.store.postgres` is another."""

from __future__ import annotations

import contextlib
import logging
import queue
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from dicore.errors import StoreError, StoreFull
from dicore.store import match

log = logging.getLogger("dicore.store")
Row = tuple[Any, ...]
Values = Sequence[Any]


class Database(Protocol):
    """A connection for writing, used by one thread at a time, and others for reading. SQL is what SQLite and PostgreSQL
    both take, with `?` for values; the methods at the end say what they call differently. Errors come as StoreError,
    StoreFull."""

    name: str  # for messages
    integer: str  # "{}" read as a number, or NULL
    joined: str  # the different values of "{}" in one text, with commas

    def execute(self, sql: str, values: Values = ()) -> list[Row]: ...

    def many(self, sql: str, values: Iterable[Values]) -> None: ...

    def transaction(self) -> AbstractContextManager[None]:
        """All of it or nothing, alone among the writers that use the same rows."""
        ...

    def read(self, sql: str, values: Values = ()) -> Iterator[Row]:
        """Rows as they come, from a connection of its own: a writer does not wait for them, nor they for it."""
        ...

    def layout(self) -> str:
        """The layout that the tables were made with, "" when there are none."""
        ...

    def create(self, layout: str, statements: Sequence[str]) -> None:
        """Make the tables, instead of any other."""
        ...

    def others_wrote(self) -> bool:
        """Has another connection written since the last call?"""
        ...

    def wild(self, column: str, pattern: str) -> tuple[str, str]: ...

    def plan(self, sql: str, values: Values = ()) -> str:
        """How a query would be answered, in words."""
        ...

    def close(self) -> None: ...


@contextlib.contextmanager
def _told(name: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorname", "").startswith("SQLITE_FULL"):
            raise StoreFull(f"{name}: the disk is full: the index is behind, storing and reading go on") from error
        raise StoreError(f"{name}: {error}") from error


class SQLite:
    """One file, WAL. `read_only`: a copy in memory, which is brought up to date without touching the file."""

    integer, joined = "CAST({} AS INTEGER)", "group_concat(DISTINCT {})"

    def __init__(self, path: Path, layout: str, *, read_only: bool) -> None:
        self._path, self._read_only, self.name = path, read_only, str(path)
        self._readers: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        self._lock = threading.RLock()
        self._version = -1
        self._writer = self._copied() if read_only else self._opened(layout)

    def _copied(self) -> sqlite3.Connection:
        memory = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        try:
            with contextlib.closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)) as disk:
                disk.backup(memory)
        except sqlite3.Error as error:
            log.debug("%s: %s", self._path, error)
            memory.close()
            memory = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        return memory

    def _opened(self, layout: str) -> sqlite3.Connection:
        for attempt in range(2):
            database = None
            try:
                database = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None, timeout=30)
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("PRAGMA synchronous = NORMAL")  # the segments are the truth
                database.execute("PRAGMA cache_size = -65536")
                found = _layout(database)
                if found in ("", layout):
                    return database
                log.warning("%s has another layout and is made anew", self._path)
            except sqlite3.Error as error:
                busy = getattr(error, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))
                if attempt or busy:  # somebody else's index is not unlinked
                    if database is not None:
                        database.close()
                    raise StoreError(f"{self._path}: {error}") from error
                log.warning("%s cannot be used (%s) and is made anew", self._path, error)
            if database is not None:
                database.close()
            for suffix in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        raise StoreError(f"{self._path} cannot be made anew")

    def execute(self, sql: str, values: Values = ()) -> list[Row]:
        with _told(self.name), self._lock:
            return self._writer.execute(sql, values).fetchall()

    def many(self, sql: str, values: Iterable[Values]) -> None:
        with _told(self.name), self._lock:
            self._writer.executemany(sql, values)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        with self._lock, _told(self.name):
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    def read(self, sql: str, values: Values = ()) -> Iterator[Row]:
        if self._read_only:
            yield from self.execute(sql, values)
            return
        try:
            reader = self._readers.get_nowait()
        except queue.Empty:
            reader = self._reader()
        cursor = None
        try:
            with _told(self.name):
                cursor = reader.execute(sql, values)
                while rows := cursor.fetchmany(256):
                    yield from rows
        finally:
            if cursor is not None:
                cursor.close()
            self._readers.put(reader)

    def _reader(self) -> sqlite3.Connection:
        with _told(self.name), contextlib.ExitStack() as failed:
            reader = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None, timeout=30)
            failed.callback(reader.close)
            reader.execute("PRAGMA query_only = 1")
            reader.execute("PRAGMA cache_size = -65536")
            failed.pop_all()
            return reader

    def layout(self) -> str:
        with _told(self.name):
            return _layout(self._writer)

    def create(self, layout: str, statements: Sequence[str]) -> None:
        if not self._read_only:
            with self.transaction():
                self._make(layout, statements)
            return
        self._writer.close()
        self._writer = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self._make(layout, statements)

    def _make(self, layout: str, statements: Sequence[str]) -> None:
        for statement in [*statements, "CREATE TABLE layout(text TEXT NOT NULL)"]:
            self.execute(statement)
        self.execute("INSERT INTO layout(text) VALUES(?)", [layout])

    def others_wrote(self) -> bool:
        before, self._version = self._version, self.execute("PRAGMA data_version")[0][0]
        return before != self._version

    def wild(self, column: str, pattern: str) -> tuple[str, str]:
        return match.glob(column, pattern)

    def plan(self, sql: str, values: Values = ()) -> str:
        return "\n".join(str(row[3]) for row in self.execute(f"EXPLAIN QUERY PLAN {sql}", values))

    def close(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._readers.get_nowait().close()
        self._writer.close()


def _layout(database: sqlite3.Connection) -> str:
    names = {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not names:
        return ""
    if "layout" not in names:
        return "?"
    row = database.execute("SELECT text FROM layout").fetchone()
    return str(row[0]) if row else "?"
