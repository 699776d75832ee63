"""What crosses a wire: commands, queries, events, views and error codes."""
