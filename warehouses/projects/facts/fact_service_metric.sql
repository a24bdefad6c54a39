/*
grain: [service_id, month_end_on]
load: snapshot monthly
date: month_end_on
times:
  stg_service_metrics: {valid_from: measured_at, created_at: measured_at, order: valid_time}
keys:
  service_key: dim_service(service_id) as of month_end_at
  date_key: dim_date(month_end_on)
checks:
  - range: {availability: [0, 1]}
  - identity: days_measured <= day(month_end_on)
*/
-- The days of a month added up. A service is available when it is not down; days not measured do not count.
select
    service_id,
    run_date() as month_end_on,
    run_date() + interval '1 day' - interval '1 microsecond' as month_end_at,
    count(*) as days_measured,
    sum(requests)::bigint as requests,
    sum(downtime_minutes)::bigint as downtime_minutes,
    round(1 - sum(downtime_minutes) / (count(*) * 1440), 6) as availability,
    sum(incidents)::bigint as incidents
from stg_service_metrics
where measured_on between date_trunc('month', run_date()) and run_date()
group by service_id
