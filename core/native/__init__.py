"""Compiled inner loops of core: what runs once per sample."""
