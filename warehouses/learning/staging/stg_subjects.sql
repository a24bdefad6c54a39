select subject_id, upper(trim(code)) as code, trim(name) as name, is_active
from subjects
