/*
description: Rows of each table by layer; deleted ones and the unknown member are not counted.
*/
-- Operational rows are those of the snapshot that was read last; the others stand since the last run that published.
with published as (
    select max(ended_at) as at
    from etl_runs
    where status = 'SUCCESS'
),

counts as (
    select 'mrr' as layer, 'mrr_dim_customers' as table_name, count(*) as row_count
    from mrr_dim_customers
    where _deleted_at is null
    union all
    select 'mrr' as layer, 'mrr_dim_products' as table_name, count(*) as row_count
    from mrr_dim_products
    where _deleted_at is null
    union all
    select 'mrr' as layer, 'mrr_fact_sales' as table_name, count(*) as row_count
    from mrr_fact_sales
    where _deleted_at is null
    union all
    select 'stg' as layer, 'stg_dim_customers' as table_name, count(*) as row_count
    from stg_dim_customers
    where _deleted_at is null
    union all
    select 'stg' as layer, 'stg_dim_products' as table_name, count(*) as row_count
    from stg_dim_products
    where _deleted_at is null
    union all
    select 'stg' as layer, 'stg_fact_sales' as table_name, count(*) as row_count
    from stg_fact_sales
    where _deleted_at is null
    union all
    select 'dwh' as layer, 'dwh_dim_customers' as table_name, count(*) as row_count
    from dwh_dim_customers
    where customer_key <> 0
    union all
    select 'dwh' as layer, 'dwh_dim_products' as table_name, count(*) as row_count
    from dwh_dim_products
    where product_key <> 0
    union all
    select 'dwh' as layer, 'dwh_dim_date' as table_name, count(*) as row_count
    from dwh_dim_date
    where date_key <> 0
    union all
    select 'dwh' as layer, 'dwh_fact_sales' as table_name, count(*) as row_count
    from dwh_fact_sales
)

select 'operational' as layer, table_name, source_rows as row_count, observed_at as counted_at
from high_water_mark
union all
select counts.layer, counts.table_name, counts.row_count, published.at as counted_at
from counts
cross join published
