"""What /metrics answered, as a test asks for it."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families


class Shown:
    """Read by the parser of prometheus_client; `series` are named as Prometheus writes them."""

    def __init__(self, text: str) -> None:
        self.samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]
        self.series = {_written(one.name, one.labels): one.value for one in self.samples}
        assert len(self.series) == len(self.samples), "a series is shown twice"

    def total(self, name: str, **labels: str) -> float:
        """Of all series of this name that have these labels."""
        return sum(
            one.value for one in self.samples if one.name == name and labels.items() <= one.labels.items()
        )

    def grown_since(self, before: Shown) -> dict[str, float]:
        """What is more than it was, and by how much."""
        more = {name: value - before.series.get(name, 0) for name, value in self.series.items()}
        return {name: value for name, value in more.items() if value > 0}


def _written(name: str, labels: dict[str, str]) -> str:
    listed = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    return f"{name}{{{listed}}}" if listed else name
