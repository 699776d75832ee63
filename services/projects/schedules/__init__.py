"""Schedules: commands and queries, the timers of the due times, and the launches of builds."""
