"""Everything on one machine without Docker: real servers from wheels, one process per service."""
