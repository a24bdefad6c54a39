-- Grain: one row of customers, as the source has it; deleted ones keep their last values and `_deleted_at`.
select * from customers
