/*
description: What each check of each run found, newest first, with some of the rows that failed.
*/
select
    row_number() over (order by checked_at desc, check_name, table_name) as place,
    run_id,
    check_name,
    table_name,
    severity,
    status,
    failures,
    sample,
    checked_at
from data_quality_results
order by place
