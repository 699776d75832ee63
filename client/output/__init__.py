"""Output of the commands: JSON, tables, and text whose control characters are escaped or removed."""
