"""The notifications service: e-mail about failed builds, and commit statuses at forges, with a record of each."""
