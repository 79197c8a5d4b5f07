"""Stored results -> one tidy table -> leaderboard, figures and a page."""
