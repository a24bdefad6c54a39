/*
description: No session has more correct responses than responses.
*/
select session_id, responses, correct_responses
from fact_sessions
where correct_responses > responses or correct_responses < 0
