"""Ablations as data: each a named edit of a spec, its question, the effect it expects, its place in the paper."""
