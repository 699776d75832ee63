"""The commands of users. They import most modules only when they run, so that `headrace --help` stays fast."""
