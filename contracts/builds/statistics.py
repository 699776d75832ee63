"""How long builds take."""

from contracts.paging import PageQuery


class ListBuildDurations(PageQuery, wire_name="PageDurations"):
    """Months in which builds ended, oldest first, with the seconds of their logs. Answer: Page; `per_page` 0: all."""
