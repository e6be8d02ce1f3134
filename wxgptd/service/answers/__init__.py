"""Answers in flight: which model is asked, with what, how many at once, and what is pushed."""
