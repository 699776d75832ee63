"""What a person reads after the storms: one line per kind of process, and a total."""

from collections import defaultdict
from dataclasses import dataclass, field
from statistics import median

from tests.chaos.storm import StormResult

VERDICT_FIELDS = ("lost", "duplicated", "stuck", "wrong")
HEADER = (
    f"{'killed':<28}{'builds':>7}{'kills':>7}"
    + "".join(f"{one:>12}" for one in VERDICT_FIELDS)
    + "   a build takes   after a kill: median, worst"
)


@dataclass
class ChaosReport:
    storms: list[tuple[str, StormResult]] = field(default_factory=list)

    def add(self, what: str, storm: StormResult) -> None:
        self.storms.append((what, storm))

    def lines(self) -> list[str]:
        by_kind: dict[str, list[StormResult]] = defaultdict(list)
        for what, storm in self.storms:
            by_kind[what].append(storm)
        storms = [storm for _, storm in self.storms]
        return [
            HEADER,
            *(_format_row(what, storms) for what, storms in by_kind.items()),
            *_format_recoveries(storms),
            "lost / duplicated / stuck = "
            + " / ".join(str(_count_findings(storms, one)) for one in VERDICT_FIELDS[:3]),
        ]


def _format_row(what: str, storms: list[StormResult]) -> str:
    builds, kills = sum(len(one.launched) for one in storms), sum(len(one.kills) for one in storms)
    counts = "".join(f"{_count_findings(storms, one):>12}" for one in VERDICT_FIELDS)
    times = [seconds for one in storms for _, seconds in one.recoveries()]
    usual = median(
        [one.finished_at - one.requested_at for storm in storms for one in storm.launched if one.finished_at]
    )
    return f"{what:<28}{builds:>7}{kills:>7}{counts}   {usual:>10.1f} s   {_format_times(times)}"


def _count_findings(storms: list[StormResult], what: str) -> int:
    return sum(len(getattr(storm.verdict, what)) for storm in storms)


def _format_recoveries(storms: list[StormResult]) -> list[str]:
    """Where one storm killed many kinds: how long each took."""
    times: dict[str, list[float]] = defaultdict(list)
    for storm in storms:
        for what, seconds in storm.recoveries():
            times[what].append(seconds)
    return [f"  after a kill of {what:<24} {_format_times(found)}" for what, found in sorted(times.items())]


def _format_times(seconds: list[float]) -> str:
    return f"{median(seconds):.1f} s, {max(seconds):.1f} s" if seconds else "-"
