"""Parsers for keywords of a job, such as `environment`, `needs` and `parallel`."""
