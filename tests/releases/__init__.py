"""What earlier releases left behind: their databases, and what they answered about them. See docs/UPGRADING.md."""
