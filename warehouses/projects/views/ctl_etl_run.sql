/*
description: Every run, newest first, for observability and to see what was tried again.
*/
select
    row_number() over (order by started_at desc, run_id desc) as place,
    run_id,
    command,
    status,
    started_at,
    ended_at,
    duration_ms,
    rows_inserted,
    rows_updated,
    rows_deleted,
    error_message
from etl_runs
order by place
