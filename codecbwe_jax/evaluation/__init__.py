"""Metrics, evaluators for training, reports."""
