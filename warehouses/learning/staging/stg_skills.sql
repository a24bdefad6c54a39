select skill_id, subject_id, upper(trim(code)) as code, trim(name) as name, difficulty
from skills
