"""Deciders of the aggregates of this service, and the validation they use."""
