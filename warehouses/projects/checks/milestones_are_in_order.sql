/*
description: A review cycle starts, is reviewed and finishes in this order.
*/
select cycle_id, started_at, reviewed_at, finished_at
from fact_review_cycle
where reviewed_at < started_at
    or finished_at < reviewed_at
    or (started_at is null and reviewed_at is not null)
    or (reviewed_at is null and finished_at is not null)
