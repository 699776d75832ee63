"""The decider of notifications."""
