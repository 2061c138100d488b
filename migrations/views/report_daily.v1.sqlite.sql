-- One row per account, connector and UTC day of requested_at. Every session counts in one state.
-- Each leaves a letter for how long it took to start, and one for the cause of its error: so both are found once,
-- and not for each of their columns. Released: a change is a new version beside it.
SELECT
    counted.account_sid,
    counted.connector_name,
    counted.day,
    CAST(counted.asked AS bigint) AS asked,
    CAST(counted.adopted AS bigint) AS adopted,
    CAST(counted.pending AS bigint) AS pending,
    CAST(counted.unanswered AS bigint) AS unanswered,
    CAST(counted.refused AS bigint) AS refused,
    CAST(counted.accepted AS bigint) AS accepted,
    CAST(counted.started AS bigint) AS started,
    CAST(counted.stopped AS bigint) AS stopped,
    CAST(counted.failed AS bigint) AS failed,
    CAST(counted.overdue AS bigint) AS overdue,
    CAST(COALESCE(counted.seconds, 0) AS double precision) AS seconds_recorded,
    CAST(LENGTH(counted.starts) - LENGTH(REPLACE(counted.starts, '1', '')) AS bigint) AS start_1s,
    CAST(LENGTH(counted.starts) - LENGTH(REPLACE(counted.starts, '2', '')) AS bigint) AS start_2s,
    CAST(LENGTH(counted.starts) - LENGTH(REPLACE(counted.starts, '3', '')) AS bigint) AS start_3s,
    CAST(LENGTH(counted.starts) - LENGTH(REPLACE(counted.starts, '5', '')) AS bigint) AS start_5s,
    CAST(LENGTH(counted.starts) - LENGTH(REPLACE(counted.starts, 't', '')) AS bigint) AS start_10s,
    CAST(LENGTH(counted.starts) - LENGTH(REPLACE(counted.starts, 'w', '')) AS bigint) AS start_20s,
    CAST(LENGTH(counted.starts) - LENGTH(REPLACE(counted.starts, 'm', '')) AS bigint) AS start_60s,
    CAST(LENGTH(counted.starts) - LENGTH(REPLACE(counted.starts, 'o', '')) AS bigint) AS start_more,
    CAST(LENGTH(counted.starts) - LENGTH(REPLACE(counted.starts, 'n', '')) AS bigint) AS start_never,
    CAST(LENGTH(counted.starts) - LENGTH(REPLACE(counted.starts, 'u', '')) AS bigint) AS start_unknown,
    CAST(LENGTH(counted.causes) - LENGTH(REPLACE(counted.causes, 'a', '')) AS bigint) AS failed_recorder_no_answer,
    CAST(LENGTH(counted.causes) - LENGTH(REPLACE(counted.causes, 'b', '')) AS bigint) AS failed_siprec_failed,
    CAST(LENGTH(counted.causes) - LENGTH(REPLACE(counted.causes, 'c', '')) AS bigint) AS refused_rejected,
    CAST(LENGTH(counted.causes) - LENGTH(REPLACE(counted.causes, 'd', '')) AS bigint) AS refused_call_unknown,
    CAST(LENGTH(counted.causes) - LENGTH(REPLACE(counted.causes, 'e', '')) AS bigint) AS refused_call_id_invalid,
    CAST(LENGTH(counted.causes) - LENGTH(REPLACE(counted.causes, 'f', '')) AS bigint) AS refused_call_ended,
    CAST(LENGTH(counted.causes) - LENGTH(REPLACE(counted.causes, 'g', '')) AS bigint) AS refused_call_not_answered,
    CAST(LENGTH(counted.causes) - LENGTH(REPLACE(counted.causes, 'h', '')) AS bigint) AS refused_fields_invalid,
    CAST(LENGTH(counted.causes) - LENGTH(REPLACE(counted.causes, 'i', '')) AS bigint) AS refused_credentials,
    CAST(LENGTH(counted.causes) - LENGTH(REPLACE(counted.causes, 'j', '')) AS bigint) AS refused_not_authorized,
    CAST(LENGTH(counted.causes) - LENGTH(REPLACE(counted.causes, 'k', '')) AS bigint) AS refused_rate_limited,
    CAST(LENGTH(counted.causes) - LENGTH(REPLACE(counted.causes, 'l', '')) AS bigint) AS refused_unreachable,
    CAST(LENGTH(counted.causes) - LENGTH(REPLACE(counted.causes, 'm', '')) AS bigint) AS unanswered_no_answer,
    CAST(LENGTH(counted.causes) - LENGTH(REPLACE(counted.causes, 'n', '')) AS bigint) AS unanswered_telnyx_error
FROM (
    SELECT
        told.account_sid,
        told.connector_name,
        told.day,
        COUNT(*) FILTER (WHERE told.origin <> 'adopted') AS asked,
        COUNT(*) FILTER (WHERE told.origin = 'adopted') AS adopted,
        COUNT(*) FILTER (WHERE told.state = 'requested') AS pending,
        COUNT(*) FILTER (WHERE told.state = 'unanswered') AS unanswered,
        COUNT(*) FILTER (WHERE told.state = 'refused') AS refused,
        COUNT(*) FILTER (WHERE told.state = 'accepted') AS accepted,
        COUNT(*) FILTER (WHERE told.state = 'started') AS started,
        COUNT(*) FILTER (WHERE told.state = 'stopped') AS stopped,
        COUNT(*) FILTER (WHERE told.state = 'failed') AS failed,
        COUNT(*) FILTER (WHERE told.overdue_kind IS NOT NULL) AS overdue,
        SUM(
            unixepoch(told.ended_at) - unixepoch(told.started_at)
            + (substr(told.ended_at, 20, 7) - substr(told.started_at, 20, 7))
        ) AS seconds,
        COALESCE(
            group_concat(
                CASE
                    WHEN told.origin = 'adopted' THEN NULL
                    WHEN told.started_at IS NOT NULL THEN substr(
                        '12355tttttwwwwwwwwwwmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmo',
                        min(max(
                            unixepoch(told.started_at) - unixepoch(told.requested_at)
                            + (substr(told.started_at, 20, 7) > substr(told.requested_at, 20, 7)), 1
                        ), 61),  -- whole seconds, rounded up
                        1
                    )
                    WHEN told.state IN ('started', 'stopped') THEN 'u'
                    ELSE 'n'
                END,
                ''
            ),
            ''
        ) AS starts,
        COALESCE(
            group_concat(
                CASE told.error_cause
                    WHEN 'recorder_no_answer' THEN 'a'
                    WHEN 'siprec_failed' THEN 'b'
                    WHEN 'rejected' THEN 'c'
                    WHEN 'call_unknown' THEN 'd'
                    WHEN 'call_id_invalid' THEN 'e'
                    WHEN 'call_ended' THEN 'f'
                    WHEN 'call_not_answered' THEN 'g'
                    WHEN 'fields_invalid' THEN 'h'
                    WHEN 'credentials' THEN 'i'
                    WHEN 'not_authorized' THEN 'j'
                    WHEN 'rate_limited' THEN 'k'
                    WHEN 'unreachable' THEN 'l'
                    WHEN 'no_answer' THEN 'm'
                    WHEN 'telnyx_error' THEN 'n'
                END,
                ''
            ),
            ''
        ) AS causes
    FROM (
        SELECT
            account_sid,
            connector_name,
            UTC_DAY(requested_at) AS day,
            origin,
            state,
            error_cause,
            overdue_kind,
            requested_at,
            started_at,
            ended_at
        FROM report_sessions_v1
    ) AS told
    GROUP BY told.account_sid, told.connector_name, told.day
) AS counted
