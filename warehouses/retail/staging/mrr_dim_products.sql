-- Grain: one row of products, as the source has it; deleted ones keep their last values and `_deleted_at`.
select * from products
