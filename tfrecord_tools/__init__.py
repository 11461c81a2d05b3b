"""Turns annotations into sharded records that a detector trains on."""
