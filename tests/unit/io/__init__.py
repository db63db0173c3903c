"""Tests of restorekit.io."""
