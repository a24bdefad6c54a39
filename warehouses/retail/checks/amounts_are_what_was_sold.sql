/*
description: The amount of a sale is its quantity at its unit price less the discount.
*/
select sale_id, quantity, unit_price, discount, amount
from dwh_fact_sales
where amount is distinct from quantity * unit_price - discount
