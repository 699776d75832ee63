"""The comparison of a benchmark's results with the last release."""

from tests.bench.compare import compare

RELEASE = {"no_ops": {"rate": 500}, "dispatch": {"p50": 50.0}, "commands_64": {"ours": {"rate": 1000}}}


def worse_figures(results: dict[str, object]) -> list[str]:
    return [row.name for row in compare(RELEASE, results) if row.is_worse]


def test_figures_within_the_tolerance_are_not_worse() -> None:
    assert (
        worse_figures({"no_ops": {"rate": 455}, "dispatch": {"p50": 54.5}, "commands_64": {"ours": {"rate": 910}}})
        == []
    )


def test_a_lower_rate_and_a_longer_time_are_worse() -> None:
    results = {"no_ops": {"rate": 440}, "dispatch": {"p50": 56.0}, "commands_64": {"ours": {"rate": 2000}}}
    assert worse_figures(results) == ["no_ops.rate", "dispatch.p50"]


def test_a_figure_that_was_not_measured_is_worse() -> None:
    assert worse_figures({"no_ops": {"rate": 600}, "dispatch": {"p50": 20}}) == ["commands_64.ours.rate"]
