"""What the drill prints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.drill.drill import Result
from tests.drill.faults import Fault
from tests.drill.judge import Part, Verdict, answers, slowest

COLUMNS = (
    "fault",
    "sent",
    "answered 200",
    "stored",
    "lost",
    "stored twice",
    "wrong state",
    "slowest answer (s)",
    "until drained (s)",
)
SHOWN = 20


def table(result: Result, faults: Iterable[Fault]) -> str:
    rows: list[tuple[str, ...]] = [COLUMNS]
    total = Verdict()
    for fault in faults:
        if part := result.parts.get(fault.name):
            verdict = result.of[fault.name]
            total += verdict
            rows.append(_row(fault.name, verdict, [part]))
        else:
            rows.append((fault.name, f"left out: {result.left_out[fault.name]}"))
    total += result.elsewhere
    rows.append(_row("total", total, list(result.parts.values())))
    return _aligned(rows)


def notes(result: Result) -> list[str]:
    """What else happened, a line each."""
    parts = result.parts.values()
    said = ", ".join(f"{status}: {times}" for status, times in answers(parts).items())
    lines = [
        f"answers to callbacks, {sum(len(part.log.forged) for part in parts)} forged ones included: {said}"
    ]
    starts = [status for part in parts for status in part.promises.statuses]
    counted = {str(status or "no answer"): starts.count(status) for status in starts}
    lines.append(
        "answers to starts: " + ", ".join(f"{status}: {counted[status]}" for status in sorted(counted))
    )
    lines += [
        f"{name}: {part.unsent} were never sent, it took too long"
        for name, part in result.parts.items()
        if part.unsent
    ]
    return lines


def offences(result: Result) -> list[str]:
    found = [f"{name}: {said}" for name, verdict in result.of.items() for said in verdict.offences]
    found += result.elsewhere.offences
    found += [
        f"{name}: the spool was not empty in time"
        for name, part in result.parts.items()
        if part.seconds_until_drained is None
    ]
    return found


def _row(name: str, verdict: Verdict, parts: Sequence[Part]) -> tuple[str, ...]:
    numbers = (verdict.sent, verdict.answered, verdict.stored, verdict.lost, verdict.twice, verdict.wrong)
    waited = [part.seconds_until_drained for part in parts]
    until = "never" if None in waited else f"{max((one for one in waited if one is not None), default=0):.1f}"
    seconds = max((slowest(part.log.genuine) for part in parts), default=0.0)
    return (name, *map(str, numbers), f"{seconds:.2f}", until)


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    full = [row for row in rows if len(row) == len(COLUMNS)]
    widths = [max(len(row[place]) for row in full) for place in range(len(COLUMNS))]
    widths[0] = max(len(row[0]) for row in rows)
    lines = []
    for first, *others in rows:
        if len(others) == 1:
            lines.append(f"{first.ljust(widths[0])}  {others[0]}")
        else:
            cells = [text.rjust(width) for text, width in zip(others, widths[1:], strict=True)]
            lines.append("  ".join([first.ljust(widths[0]), *cells]))
    return "\n".join(lines)
