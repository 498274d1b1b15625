"""Steer a model along a direction, and measure what that does, to a stated behaviour and to others."""
