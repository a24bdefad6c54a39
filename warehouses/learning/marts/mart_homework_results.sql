/*
grain: skill_key
*/
-- Key 0 has what was submitted of a homework that is not known yet.
select
    homework.skill_key,
    homework.skill_id,
    skills.name as skill,
    skills.subject_name as subject,
    count(*) as submissions,
    count(*) filter (homework.status = 'graded') as graded,
    count(*) filter (homework.is_late) as late,
    round(avg(homework.attempts), 2) as average_attempts,
    round(avg(homework.score), 2) as average_score
from fact_homework_events as homework
join dim_skill as skills on skills.skill_key = homework.skill_key
group by all
