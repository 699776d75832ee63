"""The commands of users. They import what they need when they run, so that `headrace --help` stays fast."""
