"""Tests of restorekit.jobs."""
