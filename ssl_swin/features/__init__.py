"""Frozen features of any network, and what they are worth: plain torch, no Trainer."""
