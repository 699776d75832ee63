"""Results of tests: JUnit reports of jobs, and what follows from the reports of several builds."""
