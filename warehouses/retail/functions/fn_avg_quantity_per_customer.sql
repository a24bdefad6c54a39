/*
description: The average quantity of a customer's orders; returns left out.
returns: scalar
arguments: {customer: BIGINT}
*/
select round(avg(quantity), 2)
from dwh_fact_sales
where customer_id = $customer and quantity > 0
