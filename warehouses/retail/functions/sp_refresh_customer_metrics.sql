/*
description: The metrics of every customer; each run brings them up to date in the publish that brings the sales.
returns: table
into: customer_metrics
*/
select * from customer_metrics
