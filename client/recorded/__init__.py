"""Live events, and the history of an object, over HTTP."""
