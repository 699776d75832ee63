"""The decider of runners."""
