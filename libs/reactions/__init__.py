"""Reactions to events: policies send commands, workers do slow work. Both run at least once for each event."""
