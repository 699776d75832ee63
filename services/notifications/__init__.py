"""The notifications service: mails, commit statuses at forges, and requests to receivers, with a record of each."""
