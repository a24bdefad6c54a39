/*
description: What ran; each run as a whole, and each table it built.
*/
select
    run_id as log_id,
    command as process_name,
    'all' as layer,
    status,
    rows_inserted + rows_updated + rows_deleted as rows,
    started_at as start_time,
    ended_at as end_time,
    error_message
from etl_runs
union all
select
    run_id || ':' || table_name as log_id,
    table_name as process_name,
    case
        when table_name like 'mrr\_%' escape '\' then 'mrr'
        when table_name like 'stg\_%' escape '\' then 'stg'
        else 'dwh'
    end as layer,
    'SUCCESS' as status,   -- what a run did to its tables is written down when it publishes
    rows_inserted + rows_updated + rows_deleted as rows,
    started_at as start_time,
    ended_at as end_time,
    null as error_message
from etl_table_runs
