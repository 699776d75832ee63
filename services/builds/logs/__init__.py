"""Job logs: lines, sections, queries."""
