/*
description: How each process did over all runs; a run with nothing to do is a success.
*/
with timed as (
    select
        process_name,
        layer,
        status,
        rows,
        date_diff('millisecond', start_time, end_time) / 1000 as duration_seconds
    from etl_logs
)

select
    process_name,
    layer,
    count(*) as runs,
    round(count(*) filter (status <> 'FAILED') / count(*), 4) as success_rate,
    round(avg(duration_seconds), 3) as average_duration_seconds,
    max(duration_seconds) as longest_duration_seconds,
    round(avg(rows), 1) as average_rows,
    sum(rows)::bigint as total_rows
from timed
group by process_name, layer
