"""Results of tests: JUnit reports of jobs, and statistics of the reports of several builds."""
