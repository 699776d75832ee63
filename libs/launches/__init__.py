"""Rules for launches of builds that several services apply."""
