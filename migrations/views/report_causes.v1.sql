-- One row per sign by which a cause is known. Released: a change is a later file beside it.
SELECT
    CAST(known.column1 AS text) AS kind,
    CAST(known.column2 AS text) AS sign,
    CAST(known.column3 AS text) AS cause,
    CAST(known.column4 AS text) AS side,
    CAST(1 AS integer) AS version
FROM (VALUES CAUSES_1) AS known
