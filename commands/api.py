"""What is asked of the master daemon, and what it answers: bodies of requests (pure).

Kinds of requests, who may make them, and their bodies; `docs/wire-protocol.md` has the frames. The
log's own kinds (`head`, `range`) are in eventstore/serving/log_service.py, bodies that agents speak
in nodeagent/calls. Only light imports here: every command line loads this file.

    kind           roles                     body -> reply
    submit         operator gateway          Submit -> Submitted
    plan           operator gateway          PlanRequest -> PlanReply          (dry run)
    query          operator gateway auditor  Query -> QueryReply
    names          operator gateway auditor  Names -> NamesReply               (completion)
    fields         operator gateway auditor  Fields -> FieldsReply             (why)
    wait-job       operator gateway auditor  WaitJob -> JobNews                (long poll)
    job-order      operator gateway          JobOrder -> JobOrderReply
    digest         operator gateway auditor  Digest -> DigestReply
    voters         all but ticket            empty -> VotersReply              (any voter)
    voter-status   all but ticket            empty -> VoterStatus              (of the one asked)
    metrics        all but ticket            empty -> MetricsReply             (of the one asked)
    confirm        all but ticket            empty -> Confirmed                (leads now?)
    hand-over      operator                  HandOver -> HandedOver            (the leader)
    join           ticket                    calls.Join -> calls.Joined
    promise        node                      calls.Promised -> calls.PromiseReply
    task-result    node                      calls.TaskResult -> empty
    feedback       node                      calls.Feedback -> empty
    observed       node                      calls.Observed -> empty
    status         node                      calls.NodeStatus -> empty

Errors cross the wire as (code, message, hint, data); codes are those of commands/errors.py and of
eventstore/replica.py. A `Submit` with an idempotency key may be sent again after an unknown
outcome: it returns the jobs of the first time.
"""

from __future__ import annotations

import msgspec

from eventstore.packed import Packed
from nodeagent.calls import Voter


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all bodies: a MessagePack map; defaults are left out; unknown fields are ignored."""


class JobSpec(Message, frozen=True):
    """A job to be submitted. A negative job id in `depends` counts back in the same Submit."""

    ops: tuple[Packed, ...]
    priority: int = 0
    depends: tuple[tuple[tuple[int, tuple[str, ...]], ...], ...] = ()
    reason: tuple[tuple[str, str, int], ...] = ()


class Submit(Message, frozen=True):
    """One or more jobs, accepted all or none."""

    jobs: tuple[JobSpec, ...]


class Submitted(Message, frozen=True):
    """Their ids, in order. They are in the log."""

    jobs: tuple[int, ...]


class PlanRequest(Message, frozen=True):
    """What would this opcode do now?"""

    op: Packed


class PlannedStep(Message, frozen=True):
    """A step as a person reads it."""

    id: str
    what: str  # call, record, wait
    node: str  # name
    text: str  # the call with its main arguments
    after: tuple[str, ...] = ()
    undo: str = ""
    final: bool = False


class Change(Message, frozen=True):
    """One field that would differ. An object that appears or goes has an empty field name."""

    object: str  # `instance web1.example.net`
    field: str
    before: str
    after: str


class PlanReply(Message, frozen=True):
    """The first plan, shown: calls, and the difference that its facts make."""

    locks: tuple[str, ...]
    steps: tuple[PlannedStep, ...]
    changes: tuple[Change, ...]
    explanation: tuple[str, ...] = ()
    as_of: int = 0


class Moment(Message, frozen=True):
    """A moment of the past: a seq, or a time (ms since 1970 UTC; the last record not after it)."""

    seq: int | None = None
    time_ms: int | None = None


class Query(Message, frozen=True):
    """Rows of a table: Ganeti's resources, fields and filters (query_fields.json)."""

    what: str  # instance, node, group, job, cluster, lock, ...
    fields: tuple[str, ...]
    names: tuple[str, ...] = ()  # only these; an unknown one is an error
    filter: object = None  # Ganeti's filter language as nested lists
    at: Moment | None = None
    archived: bool = False  # jobs: archived ones too


class Field(Message, frozen=True):
    """A column. `kind`: text, number, bool, timestamp, unit (MiB), other."""

    name: str
    title: str
    kind: str
    doc: str = ""


# status of a value, as Ganeti's: 0 normal, 1 unknown field, 2 no data, 3 unavailable, 4 offline
Cell = tuple[int, object]


class QueryReply(Message, frozen=True):
    """The rows, and the seq and time as of which they are true."""

    fields: tuple[Field, ...]
    rows: tuple[tuple[Cell, ...], ...]
    as_of: int
    time_ms: int


class Names(Message, frozen=True):
    """Names of a table (or of `allocator`, `os`, recent `job`s) that begin with `prefix`."""

    table: str
    prefix: str = ""
    limit: int = 1000


class NamesReply(Message, frozen=True):
    """Sorted names."""

    names: tuple[str, ...]


class Fields(Message, frozen=True):
    """Which record last changed each field of an object? `key` is a name or uuid."""

    table: str
    key: str
    at: Moment | None = None


class FieldsReply(Message, frozen=True):
    """The object's fields as builtins, and the seq of the last change of each."""

    uuid: str
    name: str
    values: dict[str, object]
    seqs: dict[str, int]


class WaitJob(Message, frozen=True):
    """Answer when there is news of a job after `since`, or after `timeout_s` with none."""

    job: int
    since: int = 0  # `JobNews.serial` of the last answer
    timeout_s: float = 20.0


class Line(Message, frozen=True):
    """A feedback line."""

    time_ms: int
    op: int
    text: str
    step: str = ""
    percent: float | None = None
    eta_s: float | None = None


class OpNews(Message, frozen=True):
    """How an opcode stands."""

    summary: str
    status: str  # queued, waiting, running, canceling, canceled, success, error, needs-attention
    code: str = ""
    message: str = ""
    hint: str = ""
    result: msgspec.Raw = msgspec.Raw(b"\xc0")
    steps_done: int = 0
    steps: int = 0
    step: str = ""  # a step that runs now


class JobNews(Message, frozen=True):
    """How a job stands, and the lines since `since`. `serial` rises with every change."""

    job: int
    serial: int
    status: str
    ended: bool
    ops: tuple[OpNews, ...]
    lines: tuple[Line, ...] = ()
    waits_for: tuple[str, ...] = ()  # locks and jobs, for people
    sync_percent: float | None = None  # of the sync that it waits for
    sync_eta_s: float | None = None


class JobOrder(Message, frozen=True):
    """Do something to jobs: cancel, archive, set-priority, resolve."""

    order: str
    jobs: tuple[int, ...] = ()
    older_than_s: float | None = None  # archive: all that ended so long ago
    priority: int = 0
    how: str = ""  # resolve: retry, accept, undo


class JobOrderReply(Message, frozen=True):
    """Per job: done or not, and why in words."""

    jobs: tuple[tuple[int, bool, str], ...]


class Digest(Message, frozen=True):
    """What are the digests of the projections, at a seq (None: now)?"""

    seq: int | None = None


class DigestReply(Message, frozen=True):
    """Digests by name of the projection (configuration, jobs, changes), hex."""

    seq: int
    fold: str  # version of the fold; only equal ones are comparable
    digests: dict[str, str]


class VotersReply(Message, frozen=True):
    """Where the voters are, and who leads ("": unknown to the one that was asked)."""

    voters: tuple[Voter, ...]
    leader: str = ""


class PeerStatus(Message, frozen=True):
    """What a leader knows of another voter, or of one that learns."""

    name: str
    match: int  # the last record that it surely holds
    heard_ms: int  # since its last answer
    disk: str  # ok, low, full
    last_fsync_ms: float


class VoterStatus(Message, frozen=True):
    """How one voter is. `peers` only from the leader."""

    name: str
    # leader, follower, witness (follows), candidate, learner, joining, recovering, superseded
    role: str
    gen: int
    term: int
    leader: str
    last_seq: int
    durable: int
    committed: int
    disk: str
    last_fsync_ms: float
    worst_fsync_ms: float
    voters: tuple[str, ...]
    learners: tuple[str, ...] = ()
    witnesses: tuple[str, ...] = ()  # of the voters, those that never lead
    alarms: tuple[str, ...] = ()  # the last ones of this process
    peers: tuple[PeerStatus, ...] = ()


class Sample(Message, frozen=True):
    """A number. `suffix` is put behind the name of its family: parts of a histogram."""

    value: float
    labels: dict[str, str] = {}
    suffix: str = ""


class Family(Message, frozen=True):
    """Numbers of one name. `kind`: gauge, counter, histogram."""

    name: str
    help: str
    samples: tuple[Sample, ...]
    kind: str = "gauge"


class MetricsReply(Message, frozen=True):
    """How the voter that was asked does, as numbers."""

    families: tuple[Family, ...]


class Confirmed(Message, frozen=True):
    """The one that was asked leads: a majority said so after it was asked."""

    leader: str
    seq: int  # up to here a read of now must reach


class HandOver(Message, frozen=True):
    """Let another voter lead; "": the one that is nearest."""

    to: str = ""


class HandedOver(Message, frozen=True):
    """Who leads now."""

    leader: str
