"""The counter service, a sample service for tests: counters with an owner and a unique label."""
