-- One row per callback, however often it was delivered. Released: a change is a new version beside it.
SELECT
    callback.id AS callback_id,
    callback.session_id,
    callback.event,
    callback.happened_at,
    callback.received_at,
    callback.deliveries,
    callback.verified_by,
    CAST(
        CASE
            WHEN callback.problem IS NULL THEN callback.contradiction
            WHEN callback.contradiction IS NULL THEN callback.problem
            ELSE callback.problem || '; ' || callback.contradiction
        END AS text
    ) AS problem,
    callback.call_sid,
    callback.siprec_sid,
    callback.last_received_at,
    callback.written_at,
    callback.answered,
    callback.spooled_on
FROM callback
