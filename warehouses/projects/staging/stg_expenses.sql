select
    expense_id,
    project_id,
    user_id,
    lower(trim(category)) as category,
    amount,
    spent_on,
    spent_on::timestamp as spent_at,
    updated_at
from expenses
