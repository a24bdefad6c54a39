/*
surrogate_key: date_key
calendar: {from: 2015-01-01, to: 2034-12-31}
*/
select
    date,
    year(date) as year,
    quarter(date) as quarter,
    month(date) as month,
    monthname(date) as month_name,
    weekofyear(date) as iso_week,
    day(date) as day,
    isodow(date) as day_of_week,   -- Monday is 1
    isodow(date) >= 6 as is_weekend
from calendar
