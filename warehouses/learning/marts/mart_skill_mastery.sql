/*
grain: [progress_on, skill_id]
*/
-- Of each day that was snapshot: who has a skill, and how well.
select
    progress.progress_on,
    progress.skill_id,
    skills.name as skill,
    skills.subject_name as subject,
    skills.difficulty,
    count(*) as learners,
    round(avg(progress.mastery), 4) as average_mastery,
    count(*) filter (progress.is_mastered) as mastered,
    sum(progress.responses)::bigint as responses
from fact_learning_progress as progress
join dim_skill as skills on skills.skill_key = progress.skill_key
group by all
