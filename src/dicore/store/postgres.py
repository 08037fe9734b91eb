"""PostgreSQL for the index, where several machines share an archive: `Store(..., index="postgresql://host/name")`.

Needs psycopg 3 (`pip install dicore[postgres]`). Tables stand in the first schema of the connection's search path.
"""

from __future__ import annotations

import contextlib
import queue
import re
import threading
from collections.abc import Iterable, Iterator, Sequence

from dicore.errors import StoreError, StoreFull
from dicore.store.database import Row, Values

try:
    import psycopg
except ModuleNotFoundError as error:  # pragma: no cover - said when it is asked for
    raise StoreError("an index in PostgreSQL needs psycopg: pip install 'dicore[postgres]'") from error


def _sql(text: str) -> str:
    text = text.replace("%", "%%").replace("?", "%s")
    if text.startswith("CREATE TABLE"):
        text = text.replace("id INTEGER PRIMARY KEY, ", "id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, ", 1)
        if text.startswith("CREATE TABLE segment("):
            text = text.replace("id BIGINT GENERATED ALWAYS AS IDENTITY", "id BIGINT")
        text = text.replace(" INTEGER ", " BIGINT ").replace(" TEXT ", ' TEXT COLLATE "C" ')
    return text


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        kind = StoreFull if error.sqlstate == "53100" else StoreError
        raise kind(f"the index in PostgreSQL: {error}") from error


class Postgres:
    """As `database.Database` has it."""

    integer = "CAST(substring({} from '^\\s*[+-]{{0,1}}[0-9]{{1,18}}\\s*$') AS BIGINT)"
    joined = "string_agg(DISTINCT {}, ',')"

    def __init__(self, address: str, layout: str) -> None:
        self._address, self.name = address, re.sub(r"//[^@/]*@", "//", address)
        self._lock = threading.RLock()
        self._readers: queue.SimpleQueue[psycopg.Connection[Row]] = queue.SimpleQueue()
        with _told():
            self._writer = psycopg.connect(address, autocommit=True)
        if self.layout() not in ("", layout):
            with self.transaction():
                for table in ("instance", "series", "study", "patient", "segment", "layout"):
                    self.execute(f"DROP TABLE IF EXISTS {table} CASCADE")

    def execute(self, sql: str, values: Values = ()) -> list[Row]:
        with _told(), self._lock:
            found = self._writer.execute(_sql(sql), values, prepare=len(sql) > 40 and not sql.startswith("CREATE"))
            return found.fetchall() if found.description else []

    def many(self, sql: str, values: Iterable[Values]) -> None:
        with _told(), self._lock, self._writer.cursor() as cursor:
            cursor.executemany(_sql(sql), list(values))

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        with self._lock, _told(), self._writer.transaction():
            yield

    def read(self, sql: str, values: Values = ()) -> Iterator[Row]:
        with _told():
            try:
                reader = self._readers.get_nowait()
            except queue.Empty:
                reader = psycopg.connect(self._address, autocommit=True)
            try:
                with reader.transaction(), reader.cursor(name="dicore") as cursor:
                    cursor.itersize = 256
                    cursor.execute(_sql(sql), values)
                    yield from cursor
            finally:
                self._readers.put(reader)

    def layout(self) -> str:
        if not self.execute("SELECT 1 FROM pg_tables WHERE tablename = 'layout' AND schemaname = current_schema()"):
            return ""
        rows = self.execute("SELECT text FROM layout")
        return str(rows[0][0]) if rows else "?"

    def create(self, layout: str, statements: Sequence[str]) -> None:
        with self.transaction():
            self.execute("SELECT pg_advisory_xact_lock(8242119)")  # several machines may come at once
            if self.layout() == layout:
                return
            for statement in [*statements, "CREATE TABLE layout(text TEXT NOT NULL)"]:
                self.execute(statement)
            self.execute("INSERT INTO layout(text) VALUES(?)", [layout])

    def others_wrote(self) -> bool:
        return True

    def wild(self, column: str, pattern: str) -> tuple[str, str]:
        escaped = re.sub(r"([\\%_])", r"\\\1", pattern)
        return f"{column} LIKE ?", escaped.replace("*", "%").replace("?", "_")

    def plan(self, sql: str, values: Values = ()) -> str:
        return "\n".join(str(row[0]) for row in self.execute(f"EXPLAIN {sql}", values))

    def close(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._readers.get_nowait().close()
        self._writer.close()
