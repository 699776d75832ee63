"""The report printed after the chaos tests: one line per disturbance, recovery times by kind of process, and totals."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median

from tests.chaos.storm import StormResult

VERDICT_FIELDS = ("lost", "duplicated", "stuck", "wrong")
HEADER = (
    f"{'killed':<28}{'builds':>7}{'kills':>7}"
    + "".join(f"{name:>12}" for name in VERDICT_FIELDS)
    + "   median build   recovery: median, worst"
)


@dataclass
class ChaosReport:
    storms: list[tuple[str, StormResult]] = field(default_factory=list)

    def add(self, label: str, storm: StormResult) -> None:
        self.storms.append((label, storm))

    def lines(self) -> list[str]:
        by_kind: dict[str, list[StormResult]] = defaultdict(list)
        for label, storm in self.storms:
            by_kind[label].append(storm)
        storms = [storm for _, storm in self.storms]
        return [
            HEADER,
            *(_format_row(label, storms) for label, storms in by_kind.items()),
            *_format_recoveries("recovery from", [pair for storm in storms for pair in storm.recoveries()]),
            *_format_recoveries(
                "a launch is acknowledged after", [pair for storm in storms for pair in storm.write_pauses()]
            ),
            "lost / duplicated / stuck = "
            + " / ".join(str(_count_findings(storms, name)) for name in VERDICT_FIELDS[:3]),
        ]


def _format_row(label: str, storms: list[StormResult]) -> str:
    builds, kills = sum(len(storm.launched) for storm in storms), sum(len(storm.kills) for storm in storms)
    counts = "".join(f"{_count_findings(storms, name):>12}" for name in VERDICT_FIELDS)
    times = [seconds for storm in storms for _, seconds in storm.recoveries()]
    median_build = median(
        [build.finished_at - build.requested_at for storm in storms for build in storm.launched if build.finished_at]
    )
    return f"{label:<28}{builds:>7}{kills:>7}{counts}   {median_build:>10.1f} s   {_format_times(times)}"


def _count_findings(storms: list[StormResult], label: str) -> int:
    return sum(len(getattr(storm.verdict, label)) for storm in storms)


def _format_recoveries(what: str, observed: Iterable[tuple[str, float]]) -> list[str]:
    times: dict[str, list[float]] = defaultdict(list)
    for label, seconds in observed:
        times[label].append(seconds)
    return [f"  {what} a fault of {label:<30} {_format_times(durations)}" for label, durations in sorted(times.items())]


def _format_times(seconds: list[float]) -> str:
    return f"{median(seconds):.1f} s, {max(seconds):.1f} s" if seconds else "-"
