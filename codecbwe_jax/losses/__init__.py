"""Losses: pure functions of predictions and targets, float32."""
