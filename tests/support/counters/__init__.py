"""The counter service of the tests: counters with an owner and a unique label."""
