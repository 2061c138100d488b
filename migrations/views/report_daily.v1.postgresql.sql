-- One row per account, connector and UTC day of requested_at. Every session counts in one state.
-- Added up of three parts, so that what few sessions have costs the many nothing: all sessions; those that did not
-- stop, which an index knows; and the adopted ones, which count in no time to start. Starts are counted within each
-- bound first, so that a session costs one comparison for each.
-- Released: a change is a new version beside it.
SELECT
    counted.account_sid,
    counted.connector_name,
    counted.day,
    CAST(SUM(counted.sessions - counted.adopted) AS bigint) AS asked,
    CAST(SUM(counted.adopted) AS bigint) AS adopted,
    CAST(SUM(counted.pending) AS bigint) AS pending,
    CAST(SUM(counted.unanswered) AS bigint) AS unanswered,
    CAST(SUM(counted.refused) AS bigint) AS refused,
    CAST(SUM(counted.accepted) AS bigint) AS accepted,
    CAST(SUM(counted.started) AS bigint) AS started,
    CAST(SUM(counted.sessions - counted.not_stopped) AS bigint) AS stopped,
    CAST(SUM(counted.failed) AS bigint) AS failed,
    CAST(SUM(counted.overdue) AS bigint) AS overdue,
    COALESCE(SUM(counted.seconds), 0) AS seconds_recorded,
    CAST(SUM(counted.within_1s) AS bigint) AS start_1s,
    CAST(SUM(counted.within_2s - counted.within_1s) AS bigint) AS start_2s,
    CAST(SUM(counted.within_3s - counted.within_2s) AS bigint) AS start_3s,
    CAST(SUM(counted.within_5s - counted.within_3s) AS bigint) AS start_5s,
    CAST(SUM(counted.within_10s - counted.within_5s) AS bigint) AS start_10s,
    CAST(SUM(counted.within_20s - counted.within_10s) AS bigint) AS start_20s,
    CAST(SUM(counted.within_60s - counted.within_20s) AS bigint) AS start_60s,
    CAST(SUM(counted.timed - counted.within_60s) AS bigint) AS start_more,
    CAST(SUM(counted.sessions - counted.adopted - counted.timed - counted.untimed) AS bigint) AS start_never,
    CAST(SUM(counted.untimed) AS bigint) AS start_unknown,
    CAST(SUM(counted.failed_recorder_no_answer) AS bigint) AS failed_recorder_no_answer,
    CAST(SUM(counted.failed_siprec_failed) AS bigint) AS failed_siprec_failed,
    CAST(SUM(counted.refused_rejected) AS bigint) AS refused_rejected,
    CAST(SUM(counted.refused_call_unknown) AS bigint) AS refused_call_unknown,
    CAST(SUM(counted.refused_call_id_invalid) AS bigint) AS refused_call_id_invalid,
    CAST(SUM(counted.refused_call_ended) AS bigint) AS refused_call_ended,
    CAST(SUM(counted.refused_call_not_answered) AS bigint) AS refused_call_not_answered,
    CAST(SUM(counted.refused_fields_invalid) AS bigint) AS refused_fields_invalid,
    CAST(SUM(counted.refused_credentials) AS bigint) AS refused_credentials,
    CAST(SUM(counted.refused_not_authorized) AS bigint) AS refused_not_authorized,
    CAST(SUM(counted.refused_rate_limited) AS bigint) AS refused_rate_limited,
    CAST(SUM(counted.refused_unreachable) AS bigint) AS refused_unreachable,
    CAST(SUM(counted.unanswered_no_answer) AS bigint) AS unanswered_no_answer,
    CAST(SUM(counted.unanswered_telnyx_error) AS bigint) AS unanswered_telnyx_error
FROM (
    -- all
    SELECT
        told.account_sid,
        told.connector_name,
        told.day,
        COUNT(*) AS sessions,
        COUNT(told.overdue_kind) AS overdue,
        date_part('epoch', SUM(told.ended_at - told.started_at)) AS seconds,
        COUNT(*) FILTER (WHERE told.started_at <= told.requested_at + INTERVAL '1 s') AS within_1s,
        COUNT(*) FILTER (WHERE told.started_at <= told.requested_at + INTERVAL '2 s') AS within_2s,
        COUNT(*) FILTER (WHERE told.started_at <= told.requested_at + INTERVAL '3 s') AS within_3s,
        COUNT(*) FILTER (WHERE told.started_at <= told.requested_at + INTERVAL '5 s') AS within_5s,
        COUNT(*) FILTER (WHERE told.started_at <= told.requested_at + INTERVAL '10 s') AS within_10s,
        COUNT(*) FILTER (WHERE told.started_at <= told.requested_at + INTERVAL '20 s') AS within_20s,
        COUNT(*) FILTER (WHERE told.started_at <= told.requested_at + INTERVAL '60 s') AS within_60s,
        COUNT(told.started_at) AS timed,
        COUNT(*) FILTER (WHERE told.started_at IS NULL AND told.state IN ('started', 'stopped')) AS untimed,
        0 AS adopted,
        0 AS not_stopped,
        0 AS pending,
        0 AS unanswered,
        0 AS refused,
        0 AS accepted,
        0 AS started,
        0 AS failed,
        0 AS failed_recorder_no_answer,
        0 AS failed_siprec_failed,
        0 AS refused_rejected,
        0 AS refused_call_unknown,
        0 AS refused_call_id_invalid,
        0 AS refused_call_ended,
        0 AS refused_call_not_answered,
        0 AS refused_fields_invalid,
        0 AS refused_credentials,
        0 AS refused_not_authorized,
        0 AS refused_rate_limited,
        0 AS refused_unreachable,
        0 AS unanswered_no_answer,
        0 AS unanswered_telnyx_error
    FROM (
        SELECT
            account_sid,
            connector_name,
            UTC_DAY(requested_at) AS day,
            state,
            overdue_kind,
            requested_at,
            started_at,
            ended_at
        FROM report_sessions_v1
    ) AS told
    GROUP BY told.account_sid, told.connector_name, told.day
    UNION ALL
    -- those that did not stop
    SELECT
        told.account_sid,
        told.connector_name,
        told.day,
        0 AS sessions,
        0 AS overdue,
        NULL AS seconds,
        0 AS within_1s,
        0 AS within_2s,
        0 AS within_3s,
        0 AS within_5s,
        0 AS within_10s,
        0 AS within_20s,
        0 AS within_60s,
        0 AS timed,
        0 AS untimed,
        0 AS adopted,
        COUNT(*) AS not_stopped,
        COUNT(*) FILTER (WHERE told.state = 'requested') AS pending,
        COUNT(*) FILTER (WHERE told.state = 'unanswered') AS unanswered,
        COUNT(*) FILTER (WHERE told.state = 'refused') AS refused,
        COUNT(*) FILTER (WHERE told.state = 'accepted') AS accepted,
        COUNT(*) FILTER (WHERE told.state = 'started') AS started,
        COUNT(*) FILTER (WHERE told.state = 'failed') AS failed,
        COUNT(*) FILTER (WHERE told.error_cause = 'recorder_no_answer') AS failed_recorder_no_answer,
        COUNT(*) FILTER (WHERE told.error_cause = 'siprec_failed') AS failed_siprec_failed,
        COUNT(*) FILTER (WHERE told.error_cause = 'rejected') AS refused_rejected,
        COUNT(*) FILTER (WHERE told.error_cause = 'call_unknown') AS refused_call_unknown,
        COUNT(*) FILTER (WHERE told.error_cause = 'call_id_invalid') AS refused_call_id_invalid,
        COUNT(*) FILTER (WHERE told.error_cause = 'call_ended') AS refused_call_ended,
        COUNT(*) FILTER (WHERE told.error_cause = 'call_not_answered') AS refused_call_not_answered,
        COUNT(*) FILTER (WHERE told.error_cause = 'fields_invalid') AS refused_fields_invalid,
        COUNT(*) FILTER (WHERE told.error_cause = 'credentials') AS refused_credentials,
        COUNT(*) FILTER (WHERE told.error_cause = 'not_authorized') AS refused_not_authorized,
        COUNT(*) FILTER (WHERE told.error_cause = 'rate_limited') AS refused_rate_limited,
        COUNT(*) FILTER (WHERE told.error_cause = 'unreachable') AS refused_unreachable,
        COUNT(*) FILTER (WHERE told.error_cause = 'no_answer') AS unanswered_no_answer,
        COUNT(*) FILTER (WHERE told.error_cause = 'telnyx_error') AS unanswered_telnyx_error
    FROM (
        SELECT
            account_sid,
            connector_name,
            UTC_DAY(requested_at) AS day,
            state,
            error_cause
        FROM report_sessions_v1
        WHERE state <> 'stopped'
    ) AS told
    GROUP BY told.account_sid, told.connector_name, told.day
    UNION ALL
    -- the adopted ones
    SELECT
        told.account_sid,
        told.connector_name,
        told.day,
        0 AS sessions,
        0 AS overdue,
        NULL AS seconds,
        -COUNT(*) FILTER (WHERE told.started_at <= told.requested_at + INTERVAL '1 s') AS within_1s,
        -COUNT(*) FILTER (WHERE told.started_at <= told.requested_at + INTERVAL '2 s') AS within_2s,
        -COUNT(*) FILTER (WHERE told.started_at <= told.requested_at + INTERVAL '3 s') AS within_3s,
        -COUNT(*) FILTER (WHERE told.started_at <= told.requested_at + INTERVAL '5 s') AS within_5s,
        -COUNT(*) FILTER (WHERE told.started_at <= told.requested_at + INTERVAL '10 s') AS within_10s,
        -COUNT(*) FILTER (WHERE told.started_at <= told.requested_at + INTERVAL '20 s') AS within_20s,
        -COUNT(*) FILTER (WHERE told.started_at <= told.requested_at + INTERVAL '60 s') AS within_60s,
        -COUNT(told.started_at) AS timed,
        -COUNT(*) FILTER (WHERE told.started_at IS NULL AND told.state IN ('started', 'stopped')) AS untimed,
        COUNT(*) AS adopted,
        0 AS not_stopped,
        0 AS pending,
        0 AS unanswered,
        0 AS refused,
        0 AS accepted,
        0 AS started,
        0 AS failed,
        0 AS failed_recorder_no_answer,
        0 AS failed_siprec_failed,
        0 AS refused_rejected,
        0 AS refused_call_unknown,
        0 AS refused_call_id_invalid,
        0 AS refused_call_ended,
        0 AS refused_call_not_answered,
        0 AS refused_fields_invalid,
        0 AS refused_credentials,
        0 AS refused_not_authorized,
        0 AS refused_rate_limited,
        0 AS refused_unreachable,
        0 AS unanswered_no_answer,
        0 AS unanswered_telnyx_error
    FROM (
        SELECT
            account_sid,
            connector_name,
            UTC_DAY(requested_at) AS day,
            state,
            requested_at,
            started_at
        FROM report_sessions_v1
        WHERE origin = 'adopted'
    ) AS told
    GROUP BY told.account_sid, told.connector_name, told.day
) AS counted
GROUP BY counted.account_sid, counted.connector_name, counted.day
