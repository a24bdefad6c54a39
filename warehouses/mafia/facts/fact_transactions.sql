/*
grain: transaction_id
keys:
  user_key: dim_users(user_id) as of created_at
  time_key: dim_time(created_at)
*/
-- What is spent leaves the balance; what is bought, won or given back joins it.
select
    transaction_id,
    user_id,
    transaction_type,
    amount,
    if(transaction_type = 'spend', -amount, amount) as signed_amount,
    if(transaction_type = 'spend', 'debit', 'credit') as balance_effect,
    created_at
from stg_currency_transactions
