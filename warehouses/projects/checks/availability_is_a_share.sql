/*
description: A service is available between never and always, on no more days than the month has.
*/
select service_id, month_end_on, availability, days_measured
from fact_service_metric
where availability not between 0 and 1 or days_measured > day(month_end_on)
