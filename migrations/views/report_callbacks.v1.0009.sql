-- One row per callback, however often it was delivered. As it was, with what follows spooled_on.
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
    callback.spooled_on,
    CAST(SECONDS(callback.happened_at, callback.received_at) AS double precision) AS lateness_seconds,
    callback.method,
    CAST(
        CASE WHEN callback.spooled_on IS NOT NULL THEN SECONDS(callback.received_at, callback.written_at) END
        AS double precision
    ) AS spooled_seconds,
    callback.account_sid,
    callback.error AS siprec_error
FROM callback
