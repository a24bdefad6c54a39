select
    metric_id,
    service_id,
    measured_on,
    measured_on::timestamp as measured_at,
    requests,
    downtime_minutes,
    incidents,
    updated_at
from service_metrics
