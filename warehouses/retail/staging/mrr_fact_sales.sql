-- Grain: one row of sales, as the source has it; deleted ones keep their last values and `_deleted_at`.
select * from sales
