"""Statistics of build durations."""

from contracts.paging import PageQuery


class ListBuildDurations(PageQuery, wire_name="PageDurations"):
    """List the total duration of builds in seconds per month, oldest first. Answer: Page. `per_page` 0: all months."""
