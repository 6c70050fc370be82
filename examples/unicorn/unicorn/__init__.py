"""ops-center: who works on what, and what happened."""
