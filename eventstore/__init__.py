"""The log: records, storage, hash chain, signatures, publishing, subscribing, snapshots.

Never a word here about what the records are for: to this package a payload is bytes.
"""
