"""One module per foreign API: how its requests are read and its answers written."""
