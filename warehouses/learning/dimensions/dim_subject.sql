/*
natural_key: subject_id
surrogate_key: subject_key
*/
select subject_id, code, name, is_active
from stg_subjects
