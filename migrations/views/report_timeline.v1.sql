-- One row per change of a fact of a session. What has no position yet, for a moment, is not here yet.
-- SQLite has no statistics: NOT_RARE and + have it read by position where positions are asked for, and by session
-- where a session is.
SELECT
    event.position,
    event.subject_id AS session_id,
    event.account_sid,
    event.kind,
    CAST(changed.key AS text) AS what,
    CAST(changed.value ->> 0 AS text) AS before,
    CAST(changed.value ->> 1 AS text) AS after,
    event.happened_at,
    event.written_at,
    event.actor,
    event.callback_id,
    event.correction
FROM event, json_each(event.changes) AS changed
WHERE NOT_RARE(event.subject_kind = 'session') AND +event.position IS NOT NULL
