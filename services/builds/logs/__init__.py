"""Job logs: masking, sections, lines, queries."""
