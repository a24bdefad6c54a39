"""What a database must grant before its streams can be read, for `starberg check`: asks, changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from starberg.ingestion.postgres_address import address
from starberg.ingestion.postgres_connection import Control
from starberg.ingestion.postgres_log import LogReader
from starberg.ingestion.streams import SourceSpec, Stream
from starberg.utils.errors import CredentialsError, StarbergError, UsageError
from starberg.utils.sql import quote, quote_name


def check_source(spec: SourceSpec, secret_of: Callable[[str], str | None]) -> tuple[str, list[StarbergError]]:
    """Return who reads what, and an error for each thing that is missing, its hint the statement to type.

    Raises what connecting raises: CredentialsError, Unreachable, UsageError.
    """
    control = Control(spec.name, address(spec, secret_of))
    try:
        [(role, version)] = control.rows("SELECT current_user, current_setting('server_version')")
        reads = f"{role} reads {len(spec.streams)} tables of {control.address.database} (PostgreSQL {version})"
        return reads, list(_missing(spec, control, role))
    finally:
        control.close()


def _missing(spec: SourceSpec, control: Control, role: str) -> Iterator[StarbergError]:
    unreadable: set[str] = set()
    for stream in spec.streams.values():
        for error in _unreadable(control, stream, role):
            unreadable.add(stream.name)
            yield error
    marks = [stream for stream in spec.streams.values() if stream.capture in ("high_water_mark", "keys")]
    if any(stream.cursor for stream in marks):
        [(allowed,)] = control.rows("SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')")
        if not allowed:
            message = f"{role} may not see when other transactions began, without which late rows would be lost"
            yield CredentialsError(message, hint=f"GRANT pg_read_all_stats TO {quote_name(role)};")
    logs = [stream for stream in spec.streams.values() if stream.capture == "log"]
    if logs:
        yield from _unloggable(spec, control, role)
    for stream in (stream for stream in logs if stream.name not in unreadable):
        try:
            LogReader(control, spec).check_published(stream)
        except StarbergError as error:
            yield error


def _unreadable(control: Control, stream: Stream, role: str) -> Iterator[StarbergError]:
    schema, table = stream.table.split(".")
    found = control.rows(
        "SELECT has_schema_privilege(n.oid, 'USAGE'), has_table_privilege(c.oid, 'SELECT'), row_security_active(c.oid) "
        "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s",
        [schema, table],
    )
    if not found:
        yield UsageError(f"there is no table {stream.table}", hint="Check `table` in warehouse.yml.")
        return
    [(usage, select, hidden)] = found
    if not usage:
        grant = f"GRANT USAGE ON SCHEMA {quote_name(schema)} TO {quote_name(role)};"
        yield CredentialsError(f"{role} may not look into schema {schema}", hint=grant)
    if not select:
        grant = f"GRANT SELECT ON {quote(stream.table)} TO {quote_name(role)};"
        yield CredentialsError(f"{role} may not read {stream.table}", hint=grant)
    if hidden:
        message = f"row security may hide rows of {stream.table} from {role}, which would count as deleted"
        yield CredentialsError(message, hint=f"ALTER ROLE {quote_name(role)} BYPASSRLS;")


def _unloggable(spec: SourceSpec, control: Control, role: str) -> Iterator[StarbergError]:
    [(level, replicates, slots, taken)] = control.rows(
        "SELECT current_setting('wal_level'), (SELECT rolreplication OR rolsuper FROM pg_roles "
        "WHERE rolname = current_user), current_setting('max_replication_slots')::int, "
        "(SELECT count(*) FROM pg_replication_slots WHERE slot_name <> %s)",
        [LogReader(control, spec).slot],
    )
    if level != "logical":
        hint = "ALTER SYSTEM SET wal_level = logical; and restart the server."
        yield UsageError(f"the server writes its log at level {level}, which tells no rows", hint=hint)
    if not replicates:
        yield CredentialsError(f"{role} may not read the log", hint=f"ALTER ROLE {quote_name(role)} REPLICATION;")
    if taken >= slots:
        hint = f"ALTER SYSTEM SET max_replication_slots = {slots + 10}; and restart the server."
        yield UsageError(f"all {slots} replication slots are taken", hint=hint)
