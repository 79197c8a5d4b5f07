"""Runs jobs through submitit. Files are the only state; the only folder that knows submitit."""
