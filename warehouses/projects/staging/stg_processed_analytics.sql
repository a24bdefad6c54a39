select
    issue_id,
    lower(trim(category)) as category,
    lower(trim(sentiment)) as sentiment,
    lower(trim(root_cause)) as root_cause,
    processed_at,
    updated_at
from processed_analytics
