"""The messages of Headrace: commands, queries, events, views and error codes."""
