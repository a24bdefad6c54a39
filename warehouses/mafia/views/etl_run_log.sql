/*
description: Each run by source table; one that published nothing has one row, without source and table.
*/
select
    loaded.source as source_system,
    loaded.stream as table_name,
    runs.status,
    coalesce(loaded.rows_read, 0) as records_extracted,
    coalesce(loaded.rows_inserted + loaded.rows_updated + loaded.rows_deleted, 0) as records_loaded,
    coalesce(loaded.started_at, runs.started_at) as run_start_time,
    coalesce(loaded.ended_at, runs.ended_at) as run_end_time,
    runs.run_id,
    runs.error_message
from etl_runs as runs
left join etl_table_runs as loaded on loaded.run_id = runs.run_id
    and loaded.source is not null
    and loaded.table_name not like '%\_changes' escape '\'
