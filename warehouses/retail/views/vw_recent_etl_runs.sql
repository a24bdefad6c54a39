/*
description: The last twenty runs, newest first.
*/
select
    row_number() over (order by started_at desc, run_id desc) as place,
    run_id,
    command,
    status,
    started_at as start_time,
    ended_at as end_time,
    duration_ms / 1000 as duration_seconds,
    rows_inserted,
    rows_updated,
    rows_deleted,
    error_message
from etl_runs
order by place
limit 20
