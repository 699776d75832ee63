"""What a person reads after the storms: one line per kind of process, and a total."""

from collections import defaultdict
from dataclasses import dataclass, field
from statistics import median

from tests.chaos.storm import Storm

COUNTS = ("lost", "duplicated", "stuck", "wrong")
HEAD = (
    f"{'killed':<28}{'builds':>7}{'kills':>7}"
    + "".join(f"{one:>12}" for one in COUNTS)
    + "   a build takes   after a kill: median, worst"
)


@dataclass
class Report:
    storms: list[tuple[str, Storm]] = field(default_factory=list)

    def add(self, what: str, storm: Storm) -> None:
        self.storms.append((what, storm))

    def lines(self) -> list[str]:
        by_kind: dict[str, list[Storm]] = defaultdict(list)
        for what, storm in self.storms:
            by_kind[what].append(storm)
        storms = [storm for _, storm in self.storms]
        return [
            HEAD,
            *(_line(what, storms) for what, storms in by_kind.items()),
            *_by_turn(storms),
            "lost / duplicated / stuck = " + " / ".join(str(_count(storms, one)) for one in COUNTS[:3]),
        ]


def _line(what: str, storms: list[Storm]) -> str:
    builds, kills = sum(len(one.launched) for one in storms), sum(len(one.kills) for one in storms)
    counts = "".join(f"{_count(storms, one):>12}" for one in COUNTS)
    times = [seconds for one in storms for _, seconds in one.recoveries()]
    usual = median([one.finished - one.asked for storm in storms for one in storm.launched if one.finished])
    return f"{what:<28}{builds:>7}{kills:>7}{counts}   {usual:>10.1f} s   {_times(times)}"


def _count(storms: list[Storm], what: str) -> int:
    return sum(len(getattr(storm.verdict, what)) for storm in storms)


def _by_turn(storms: list[Storm]) -> list[str]:
    """Where one storm killed many kinds: how long each took."""
    times: dict[str, list[float]] = defaultdict(list)
    for storm in storms:
        for what, seconds in storm.recoveries():
            times[what].append(seconds)
    return [f"  after a kill of {what:<24} {_times(found)}" for what, found in sorted(times.items())]


def _times(seconds: list[float]) -> str:
    return f"{median(seconds):.1f} s, {max(seconds):.1f} s" if seconds else "-"
