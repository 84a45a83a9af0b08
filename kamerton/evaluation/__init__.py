"""Answers in, a report card out; whoever makes the answers is a callable."""
