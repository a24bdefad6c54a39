/*
natural_key: skill_id
surrogate_key: skill_key
*/
select
    skills.skill_id,
    skills.code,
    skills.name,
    skills.difficulty,
    skills.subject_id,
    subjects.code as subject_code,
    subjects.name as subject_name
from stg_skills as skills
left join stg_subjects as subjects on subjects.subject_id = skills.subject_id
