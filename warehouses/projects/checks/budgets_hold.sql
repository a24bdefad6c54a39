/*
severity: warn
description: No project has spent more than a tenth above its budget.
*/
select project_id, kpi_on, budget, spent, budget_burn
from fact_project_kpi
where budget_burn > 1.1 and kpi_on = (select max(kpi_on) from fact_project_kpi)
