"""Answers: which model is called, with what prompt, how many run at once, and what is pushed."""
