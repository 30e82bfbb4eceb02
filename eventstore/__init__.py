"""The log: records, storage, hash chain, signatures, replication, publishing, subscribing.

record.py, events.py   what the log holds; codec.py: its bytes
replica.py             the one joint that all else stands on: propose, committed, leadership
raft/                  the protocol between voters, without I/O
voter/                 one voter: that protocol with a disk, a clock and links
segments/              records in bulk, for a voter that is new or far behind
storage/               a voter's files: the log on SQLite, its index, snapshots
proofs/                Merkle tree and signed checkpoints, for whoever does not trust a voter
access/                who may connect, with which key; where the voters are
wire/                  frames, messages, sockets
serving/               requests and publications, on a voter
clients/               requests and subscriptions, from elsewhere
reactor.py             the loop of a daemon
durable_file.py        small files, replaced whole
"""
