"""Tests of the local stack's parts that need no process."""
