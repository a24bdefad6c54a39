"""The two ways into one database during a run: the control connection, and the engine's scanner in one snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from starberg.engines.base import Engine
from starberg.ingestion.postgres_address import Address
from starberg.ingestion.postgres_connection import Control
from starberg.ingestion.postgres_errors import scanning
from starberg.ingestion.postgres_marks import Horizon
from starberg.ingestion.streams import SourceSpec
from starberg.utils.errors import CredentialsError, StarbergError
from starberg.utils.sql import quote_name, text

ATTACHED = "starberg_source"


class Session:
    """One run's ways into the database of a source; nothing connects before it is asked."""

    def __init__(self, spec: SourceSpec, where: Address) -> None:
        self._spec = spec
        self.control = Control(spec.name, where)

    @property
    def timezone(self) -> str:
        """Return the zone of stamps that have none."""
        return self._spec.timezone

    def horizon(self) -> Horizon:
        """Return what is open now, to be asked before the snapshot is taken.

        CredentialsError if the role may not see the starts of others' transactions.
        """
        [(allowed, asked_at, oldest, prepared)] = self.control.rows(_HORIZON)
        if not allowed:
            raise CredentialsError(
                f"source {self._spec.name}: role {self.control.address.user} may not see when other transactions "
                "began, without which rows that commit late would be lost",
                hint=f"GRANT pg_read_all_stats TO {quote_name(self.control.address.user)};",
            )
        return Horizon(asked_at, oldest, bool(prepared))

    @contextmanager
    def snapshot(self, engine: Engine) -> Iterator[None]:
        """Attach the database to the engine, whose questions see one snapshot until the end."""
        where = self.control.address
        with scanning(self._spec.name):
            engine.attach_postgres(ATTACHED, where.secret, where.connection_string())
            try:
                engine.run("BEGIN")
                engine.rows(ask("SELECT 1 AS one"))
                yield
                engine.run("COMMIT")  # temporary tables stay
            except BaseException:
                with suppress(StarbergError):  # the connection may be what failed
                    engine.run("ROLLBACK")
                raise
            finally:
                engine.run(f"DETACH {ATTACHED}")


def ask(sql: str) -> str:
    """Return the engine's SELECT for the answer to PostgreSQL's SQL."""
    return f"SELECT * FROM postgres_query({text(ATTACHED)}, {text(sql)})"


_HORIZON = """
SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'), clock_timestamp(),
  (SELECT min(xact_start) FROM pg_stat_activity
   WHERE datname = current_database() AND pid <> pg_backend_pid()
     AND coalesce(backend_type, '') NOT IN ('autovacuum worker', 'walsender')),
  (SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database())"""
