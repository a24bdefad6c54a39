/*
description: How far each stream has been read and published.
*/
select
    source,
    stream,
    high_water_mark,
    load_seq,
    source_rows,
    observed_at,
    last_updated
from high_water_mark
order by source, stream
