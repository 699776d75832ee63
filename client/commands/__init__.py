"""The commands of users. They import modules only when they run, so that `headrace --help` stays fast."""
