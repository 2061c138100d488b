"""What the drill prints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.drill.drill import Result
from tests.drill.faults.fault import Fault
from tests.drill.judge import Part, Verdict, answers, slowest

COLUMNS = (
    "fault",
    "sent",
    "meanwhile",
    "answered 200",
    "stored",
    "lost",
    "not shown",
    "stored twice",
    "wrong",
    "slowest answer (s)",
    "until shown (s)",
)
SHOWN = 6  # of each fault


def table(result: Result, faults: Iterable[Fault]) -> str:
    rows: list[tuple[str, ...]] = [COLUMNS]
    total = Verdict()
    for fault in faults:
        if part := result.parts.get(fault.name):
            verdict = result.of[fault.name]
            total += verdict
            rows.append(_row(fault.name, verdict, [part]))
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
    for why in dict.fromkeys(result.left_out.values()):
        names = [name for name, reason in result.left_out.items() if reason == why]
        lines.append(f"left out, as {why}: {', '.join(names)}")
    lines += [
        f"{name}: {part.unsent} were never sent, it took too long"
        for name, part in result.parts.items()
        if part.unsent
    ]
    return lines


def offences(result: Result) -> list[str]:
    """Of each fault the first few, a line each; none if there are none."""
    found = []
    for name, verdict in result.of.items():
        said = list(verdict.offences)
        if result.parts[name].seconds_until_shown is None:
            said.insert(0, "not all that was answered 200 was shown in time")
        found += _shortened(name, said)
    return found + _shortened("at the end", result.elsewhere.offences)


def _shortened(name: str, said: Sequence[str]) -> list[str]:
    more = [f"{name}: and {len(said) - SHOWN} more"] if len(said) > SHOWN else []
    return [f"{name}: {line}" for line in said[:SHOWN]] + more


def _row(name: str, verdict: Verdict, parts: Sequence[Part]) -> tuple[str, ...]:
    meanwhile = sum(part.during for part in parts)
    stored = (verdict.answered, verdict.stored, verdict.lost, verdict.not_shown)
    numbers = (verdict.sent, meanwhile, *stored, verdict.twice, verdict.wrong)
    waited = [part.seconds_until_shown for part in parts]
    until = "never" if None in waited else f"{max((one for one in waited if one is not None), default=0):.1f}"
    seconds = max((slowest(part.log.genuine) for part in parts), default=0.0)
    return (name, *map(str, numbers), f"{seconds:.2f}", until)


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [text.rjust(width) for text, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]))
    return "\n".join(lines)
