"""The generator of the AsyncAPI document."""
