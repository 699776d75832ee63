"""A service made for tests: counters that have an owner and a label of their own."""
