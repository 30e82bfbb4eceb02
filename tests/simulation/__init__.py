"""Whole clusters on a simulated network, disk and clock, from one seed.

python -m tests.simulation --seeds 0:1000     look for a violation
python -m tests.simulation --seed 17 -v       replay one seed, with everything that happened
python -m tests.simulation --mutants          every planted bug must be found

kernel.py      time: one queue of events, one source of randomness
network.py     loss, duplicates, reordering, delay, cuts in one or both directions
disk.py        a voter's storage: what a crash leaves of it
node.py        a voter: the real core, and a runner as thin as can be
client.py      proposes, reads, and remembers what it was told
invariants.py  what must hold after each step
agent.py       a node's agent: promises, runs tasks, is judged by both
takeover.py    an operator at a voter that is down
scenario.py    a seed's cluster and settings, and one run of it
faults.py      what goes wrong by chance
plots.py       chains of misfortunes that chance hardly ever brings
mutants.py     bugs to plant, by name
"""
