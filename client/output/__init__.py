"""Output of the commands: JSON, tables, and text that cannot control the terminal."""
