/*
description: The customers with the highest revenue, best first.
returns: table
arguments: {n: INTEGER}
*/
select
    row_number() over (order by revenue desc, customer_id) as place,
    customer_id,
    full_name,
    segment,
    orders,
    revenue
from customer_metrics
where orders > 0
order by place
limit $n
