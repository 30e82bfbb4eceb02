/* Election, replication, change of voters, forced takeover and fencing of agents: a model for spin.
 *
 *     make model                     every scenario of `scenarios.txt`, with and without each rule
 *     tests/model/                   the same, the smaller ones in every test run
 *
 * It holds the rules of docs/replication.md, sections 3.4 to 3.6, and nothing else: no timers, no
 * pipelining, no bytes. What can happen is any order of the steps at the end of this file; a step
 * that does not happen is a message that was lost or has not come yet.
 *
 *     Network   What a leader has sent is remembered for ever (`sent`, one history per epoch), and
 *               may be delivered at any time, to anybody, in any piece, any number of times. So
 *               messages are lost, late, doubled and reordered. Acknowledgements (`held`) and votes
 *               (`votes`) are counted at any later time, or never.
 *     Disks     A voter syncs before it speaks (R1), so a step that speaks is one that is durable.
 *               Only a leader's own append may still be unsynced, and goes in a crash. LOSSES: a
 *               disk that lied loses the last record that was acknowledged. WIPES: a disk comes
 *               back empty under the old name.
 *     Records   One is its epoch (and, if it changes the voters, their set): in one epoch one
 *               leader makes one history.
 *
 * Rule, and where it stands here; compiled with -DNO_... the model lacks it, and spin must find a
 * counterexample in the scenario that `scenarios.txt` names for it:
 *
 *     R1  durable before said             CRASH               NO_R1_VOTE, NO_R1_LOG
 *     R2  a lower epoch is refused        TAKE                NO_R2
 *         a higher generation contradicts
 *         what is committed: superseded   TAKE                NO_R2_GEN
 *         it is entered by who agrees with
 *         it up to what is committed here TAKE                NO_R2_FITS
 *         its takeover is shown beside
 *         the records of each append      OFFER               NO_R2_SHOWN
 *     R3  one vote a term                 GRANT               NO_R3_FREE
 *         for a log that is level         GRANT               NO_R3_LEVEL
 *     R4  count own records only          COMMIT              NO_R4
 *     R5  the record before must agree    TAKE                NO_R5
 *     R6  cut off only what differs       TAKE                NO_R6
 *     R7  commit what this message shows  TAKE                NO_R7
 *     R8  open requests end as unknown    STEP_DOWN           NO_R8
 *     R9  RECOVERING does not vote        LOSE                NO_R9
 *         a new disk is a new voter       WIPE                NO_R9_INC
 *     R10 one voter at a time             CHANGE              NO_R10_ONE
 *         one change at a time            CHANGE              NO_R10_PENDING
 *         the no-op of the term first     CHANGE              NO_R10_NOOP
 *     R12 nothing is said before commit   APPEND              NO_R12
 *     3.6 an agent refuses lower epochs   TASK                NO_FENCE
 *         no task before the promise      TASK                NO_PROMISE
 *         the promise is durable          AGENT_CRASH         NO_PROMISE_DURABLE
 *         what was accepted is adrift in
 *         a new generation                PROMISE             NO_ADRIFT
 *
 * Asserted after each step: one leader per epoch; log matching; a leader holds what was committed
 * in a lower epoch of its generation; what is committed, or was answered "ok", never changes in a
 * generation; nothing at or below the own commit is cut off; no task of a reign runs after a later
 * reign was told what runs; a task that an agent has accepted is begun again only if its request
 * stands in the log of the generation it promised; a voter of an older generation that hears of a
 * takeover goes over or is superseded, with the first append that begins where it has committed.
 *
 * Not here: pre-vote and check-quorum (they serve progress, not safety), transfer (an election like
 * any other), reads (R11), segments (R13), full disks (R14). Two operators who take over on two
 * survivors at once make two histories of one generation: nothing in the protocol can prevent it,
 * which is why the command asks for proof that the others are off. Here there is one takeover. The
 * loss that an operator accepts on a voter which lacks what it had said (`gnt-log accept-loss`) is
 * taken together with the takeover that follows it.
 */

#ifndef N
#define N 3         /* voters */
#endif
#ifndef FOUNDERS
#define FOUNDERS ((1 << N) - 1)  /* those that vote at the start, a bit each */
#endif
#ifndef TERMS
#define TERMS 2
#endif
#ifndef ENTRIES
#define ENTRIES 2   /* records in a log */
#endif
#ifndef CRASHES
#define CRASHES 0   /* how often a voter may crash, in all */
#endif
#ifndef LOSSES
#define LOSSES 0    /* how often a crash takes a record that was acknowledged */
#endif
#ifndef WIPES
#define WIPES 0
#endif
#ifndef CHANGES
#define CHANGES 0   /* changes of voters */
#endif
#ifndef TAKEOVERS
#define TAKEOVERS 0
#endif
#ifndef AGENT
#define AGENT 0     /* 1: there is an agent, which leaders give tasks */
#endif
#ifndef JOURNAL
#define JOURNAL 0   /* 1: the agent has a journal of what it accepted */
#endif
#ifndef DATA
#define DATA 1      /* 0: no records but the no-ops and the changes */
#endif
#ifndef PIECES
#define PIECES 1    /* 0: whoever gets anything of a reign gets all that was sent by then */
#endif
#ifndef RUMOURS
#define RUMOURS 1   /* 0: one hears of a higher term only when one votes or takes records in it */
#endif
#ifdef SET_1        /* only these two sets of voters are ever wanted */
#define PICK_SET(v) if :: v = SET_1 :: v = SET_2 fi
#else
#define PICK_SET(v) select(v : 1 .. BIT(N) - 1)
#endif
#ifndef STANDING
#define STANDING N  /* voters 0 to STANDING-1 stand for election */
#endif

#define EPOCHS  ((TAKEOVERS + 1) * (TERMS + 1))
#define GEN(e)  ((e) / (TERMS + 1))       /* epoch = (generation, term) as one number */
#define TERM(e) ((e) % (TERMS + 1))
#define BIT(i)  (1 << (i))
#define NOBODY  0                         /* a vote for voter i is i + 1 */

#define FOLLOWER  0
#define CANDIDATE 1
#define LEADER    2

/* Each voter */
byte epoch[N], vote[N], role[N], commit[N];
byte votes[N];                            /* who has granted one, a bit each */
byte size[N], rec[N * ENTRIES], conf[N * ENTRIES];  /* its log: epochs, and sets of voters or 0 */
byte mark[N], mark_epoch[N];              /* RECOVERING until this is held again; 0: whole */
bit out[N];                               /* superseded, or a new disk, which is no voter */

/* What the network remembers of each epoch */
byte sent_size[EPOCHS], sent[EPOCHS * ENTRIES], sent_conf[EPOCHS * ENTRIES];
byte sent_commit[EPOCHS];
byte held[EPOCHS * N];                    /* acknowledged to its leader */

/* The agent: what it promised, and the reigns that have asked it and given it tasks; in its journal
 * a task that is accepted: the place of its request in the log, 0 while adrift, and the request */
byte promised, asked, tasked;
byte accepted_at, accepted;

/* What only the checker sees */
byte led[EPOCHS];                         /* who led, + 1 */
byte chosen[(TAKEOVERS + 1) * ENTRIES], chosen_in[(TAKEOVERS + 1) * ENTRIES];
byte relied;                              /* the last reign that was told what the agent runs */
byte crashes, losses, wipes, changes, takeovers;

/* For the time of a step; no part of a state */
hidden byte k, many, majority, voters, since, at;

#define REC(i, n)  rec[(i) * ENTRIES + (n) - 1]   /* record n, from 1, of voter i */
#define CONF(i, n) conf[(i) * ENTRIES + (n) - 1]
#define SENT(e, n) sent[(e) * ENTRIES + (n) - 1]
#define SENT_CONF(e, n) sent_conf[(e) * ENTRIES + (n) - 1]
#define HELD(e, i) held[(e) * N + (i)]
#define CHOSEN(h, n) chosen[(h) * ENTRIES + (n) - 1]
#define CHOSEN_IN(h, n) chosen_in[(h) * ENTRIES + (n) - 1]
#define HAS(set, i) (((set) >> (i)) & 1)
#define LAST(i)    (size[i] == 0 -> 0 : REC(i, size[i]))

/* `voters`: those of the last configuration in a log, which acts when appended; `since`: its seq */
inline config_of(i) {
    voters = FOUNDERS; since = 0;
    for (k : 1 .. size[i]) {
        if
        :: CONF(i, k) -> voters = CONF(i, k); since = k
        :: else
        fi
    }
}

/* `many`: how many of the voters are in the set `some`; `majority`: of how many it takes */
inline count(some) {
    many = 0; majority = 0;
    for (k : 0 .. N - 1) {
        many = many + (HAS(voters, k) & HAS(some, k));
        majority = majority + HAS(voters, k)
    }
    majority = majority / 2 + 1
}

inline enter(i, e) {                      /* R2: the vote is free again, and no reign goes on */
    step_down(i);
    epoch[i] = e;
    vote[i] = NOBODY
}

inline step_down(i) {
#ifdef NO_R8
    if
    :: role[i] == LEADER -> say_ok(i, size[i])
    :: else
    fi;
#endif
    role[i] = FOLLOWER; votes[i] = 0
}

inline put(i, n, e, set) { REC(i, n) = e; CONF(i, n) = set }

inline cut(i, n) {                        /* R6: records n and later go */
    assert(n > commit[i]);
    for (k : n .. size[i]) { put(i, k, 0, 0) }
    size[i] = n - 1
}

/* A client hears that the records up to n of the leader's log are there for ever. */
inline say_ok(i, n) {
    for (k : 1 .. n) {
        assert(CHOSEN(GEN(epoch[i]), k) == 0 || CHOSEN(GEN(epoch[i]), k) == REC(i, k));
        if
        :: CHOSEN(GEN(epoch[i]), k) == 0 ->
            CHOSEN(GEN(epoch[i]), k) = REC(i, k);
            CHOSEN_IN(GEN(epoch[i]), k) = epoch[i]
        :: else
        fi
    }
}

inline append(i, set) {                   /* a leader adds a record; it syncs it later */
    size[i]++;
    put(i, size[i], epoch[i], set);
    sent_size[epoch[i]] = size[i];
    SENT(epoch[i], size[i]) = epoch[i];
    SENT_CONF(epoch[i], size[i]) = set;
#ifdef NO_R12
    say_ok(i, size[i])
#endif
}

inline lead(i) {
    assert(led[epoch[i]] == 0);                                     /* one leader per epoch */
    for (k : 1 .. ENTRIES) {
        assert(CHOSEN(GEN(epoch[i]), k) == 0 ||                        /* leader completeness */
            CHOSEN_IN(GEN(epoch[i]), k) >= epoch[i] ||
            (k <= size[i] && CHOSEN(GEN(epoch[i]), k) == REC(i, k)))
    }
    led[epoch[i]] = i + 1;
    role[i] = LEADER; votes[i] = 0;
    for (k : 1 .. size[i]) {
        SENT(epoch[i], k) = REC(i, k);
        SENT_CONF(epoch[i], k) = CONF(i, k)
    }
    sent_size[epoch[i]] = size[i];
    HELD(epoch[i], i) = size[i]
}

inline matches(i) {                       /* its log is the history of its last record's reign */
    assert(size[i] <= sent_size[LAST(i)]);
    for (k : 1 .. size[i]) { assert(REC(i, k) == SENT(LAST(i), k)) }
}

/* ---- elections */

inline CAMPAIGN(i) {
    d_step {
        config_of(i);
        if
        :: role[i] != LEADER && !out[i] && mark[i] == 0 && HAS(voters, i) &&
            TERM(epoch[i]) < TERMS &&
            (i == 0 || led[1] || epoch[0]) ->      /* all are alike: let 0 be the first */
            enter(i, epoch[i] + 1);
            role[i] = CANDIDATE; vote[i] = i + 1; votes[i] = BIT(i)
        :: else
        fi
    }
}

#ifdef NO_R3_FREE
#define FREE 1
#else
#define FREE (epoch[i] > epoch[j] || vote[j] == NOBODY || vote[j] == i + 1)
#endif
#define AHEAD (LAST(i) > LAST(j) || (LAST(i) == LAST(j) && size[i] > size[j]))
#ifdef NO_R3_LEVEL
#define LEVEL 1
#else
#define LEVEL (AHEAD || (LAST(i) == LAST(j) && size[i] == size[j]))
#endif

inline GRANT(i, j) {                      /* R3: candidate i has the vote of j */
    d_step {
        if
        :: i != j && role[i] == CANDIDATE && !out[j] && mark[j] == 0 &&
            GEN(epoch[i]) == GEN(epoch[j]) && epoch[i] >= epoch[j] && LEVEL && FREE &&
            !HAS(votes[i], j) ->
            config_of(i); at = HAS(voters, j);
            config_of(j);
            if
            :: at && (HAS(voters, i) || AHEAD) ->
                if
                :: epoch[i] > epoch[j] -> enter(j, epoch[i])
                :: else
                fi;
                vote[j] = i + 1;
                votes[i] = votes[i] | BIT(j)
            :: else
            fi
        :: else
        fi
    }
}

inline WIN(i) {
    d_step {
        if
        :: role[i] == CANDIDATE ->
            config_of(i); count(votes[i]);
            if
            :: many >= majority ->
                lead(i);
                if
                :: size[i] < ENTRIES -> append(i, 0)   /* R4: the no-op */
                :: else
                fi
            :: else
            fi
        :: else
        fi
    }
}

inline LEARN(i, j) {                      /* j refuses i for its low term, or stands for election */
    d_step {
        if
        :: GEN(epoch[i]) == GEN(epoch[j]) && epoch[i] < epoch[j] && !out[j] -> enter(i, epoch[j])
        :: else
        fi
    }
}

/* ---- replication */

inline APPEND(i) {
    d_step {
        if
        :: role[i] == LEADER && size[i] < ENTRIES -> append(i, 0)
        :: else
        fi
    }
}

inline SYNC(i) {                          /* the leader's own disk counts when it is done (R1) */
    d_step {
        if
        :: role[i] == LEADER -> HELD(epoch[i], i) = size[i]
        :: else
        fi
    }
}

#ifdef NO_R2
#define CURRENT(e, j) 1
#else
#define CURRENT(e, j) (e >= epoch[j])
#endif
#ifdef NO_R5
#define AGREES(e, j, p) 1
#else
#define AGREES(e, j, p) (p == 0 || REC(j, p) == SENT(e, p))
#endif

#ifdef NO_R2_FITS
#define FITS(n, j) 1
#else
#define FITS(n, j) ((n) >= commit[j])
#endif

/* Voter j gets what the leader of epoch e once sent: records p + 1 .. n. If that is of a newer
 * generation, the takeover is shown with it. */
inline TAKE(e, j, p, n) {
    d_step {
        if
        :: led[e] && led[e] != j + 1 && p <= n && n <= sent_size[e] && !out[j] &&
            GEN(e) >= GEN(epoch[j]) && p <= size[j] && CURRENT(e, j) && AGREES(e, j, p) ->
            at = 0;
            for (k : p + 1 .. n) {
                if
                :: at == 0 && (k > size[j] || REC(j, k) != SENT(e, k)) -> at = k
                :: else
                fi
            }
            if
#ifndef NO_R2_GEN
            :: GEN(e) > GEN(epoch[j]) && at && at <= commit[j] ->
                step_down(j); out[j] = 1              /* superseded */
            :: GEN(e) == GEN(epoch[j]) || at > commit[j] || (at == 0 && FITS(n, j)) ->
#else
            :: GEN(e) == GEN(epoch[j]) || at || FITS(n, j) ->
#endif
                if
                :: e > epoch[j] -> enter(j, e)
                :: e == epoch[j] && role[j] == CANDIDATE -> step_down(j)
                :: else
                fi;
                if
                :: at && at <= size[j] -> cut(j, at)
#ifdef NO_R6
                :: !at && n < size[j] -> cut(j, n + 1)
#endif
                :: else
                fi;
                for (k : p + 1 .. n) {
                    if
                    :: k > size[j] -> put(j, k, SENT(e, k), SENT_CONF(e, k)); size[j] = k
                    :: else
                    fi
                }
                HELD(e, j) = (n > HELD(e, j) -> n : HELD(e, j));
                matches(j);
                learn_commit(e, j, n)
            :: else
            fi
        :: else
        fi
    }
}

#ifdef NO_R2_SHOWN
#define PROVEN(e, n) (GEN(SENT(e, n)) == GEN(e))   /* the takeover's record is among the records */
#else
#define PROVEN(e, n) 1
#endif

/* A voter of an older generation has refused, and said where it has committed: the leader sends what
 * follows there, no more than one record. That decides it, or nothing ever will. */
inline OFFER(e, j) {
    d_step {
        if
        :: led[e] && GEN(e) > GEN(epoch[j]) && !out[j] && size[j] ->
            at = (commit[j] < sent_size[e] -> commit[j] : sent_size[e]);
            k = (at < sent_size[e] -> at + 1 : at);
            if
            :: AGREES(e, j, at) -> assert(PROVEN(e, k) && k >= commit[j])
            :: else -> assert(PROVEN(e, k) && at <= commit[j])        /* superseded */
            fi
        :: else
        fi
    }
}

#ifdef NO_R7
#define SHOWN(n, j) size[j]
#else
#define SHOWN(n, j) (n)
#endif

inline learn_commit(e, j, n) {            /* R7 */
    many = (sent_commit[e] < SHOWN(n, j) -> sent_commit[e] : SHOWN(n, j));
    if
    :: many > commit[j] ->
        for (k : commit[j] + 1 .. many) { assert(CHOSEN(GEN(e), k) == REC(j, k)) }
        commit[j] = many
    :: else
    fi;
    if                                    /* R9: what was said is held again */
    :: mark[j] && commit[j] && (commit[j] >= mark[j] || REC(j, commit[j]) > mark_epoch[j]) ->
        mark[j] = 0; mark_epoch[j] = 0
    :: else
    fi
}

#ifdef NO_R4
#define OWN(i, n) 1
#else
#define OWN(i, n) (REC(i, n) == epoch[i])
#endif

inline COMMIT(i, n) {                     /* R4 */
    d_step {
        if
        :: role[i] == LEADER && n > commit[i] && n <= size[i] && OWN(i, n) ->
            at = 0;
            for (k : 0 .. N - 1) { at = at | ((HELD(epoch[i], k) >= n) << k) }
            config_of(i); count(at);
            if
            :: many >= majority ->
                commit[i] = n;
                sent_commit[epoch[i]] = n;
                say_ok(i, n);
                if
                :: since <= n && !HAS(voters, i) -> step_down(i)   /* R10: removed for good */
                :: else
                fi
            :: else
            fi
        :: else
        fi
    }
}

/* ---- changes of voters */

#ifdef NO_R10_NOOP
#define READY(i) 1
#else
#define READY(i) (commit[i] && REC(i, commit[i]) == epoch[i])
#endif
#ifdef NO_R10_PENDING
#define SETTLED(i) 1
#else
#define SETTLED(i) (since <= commit[i])
#endif
#ifdef NO_R10_ONE
#define ONE_STEP(set) 1
#else
#define ONE_STEP(set) (many == 1)
#endif

inline CHANGE(i, set) {                   /* R10 */
    d_step {
        if
        :: changes < CHANGES && role[i] == LEADER && size[i] < ENTRIES && READY(i) ->
            config_of(i);
            many = 0;
            for (k : 0 .. N - 1) { many = many + (HAS(voters, k) != HAS(set, k)) }
            if
            :: set != voters && ONE_STEP(set) && SETTLED(i) -> append(i, set); changes++
            :: else
            fi
        :: else
        fi
    }
}

/* ---- what breaks */

inline CRASH(i) {
    d_step {
        if
        :: crashes < CRASHES && epoch[i] ->
            crashes++;
            at = (role[i] == LEADER -> HELD(epoch[i], i) : size[i]);
            role[i] = FOLLOWER; votes[i] = 0; commit[i] = 0;
#ifdef NO_R1_VOTE
            vote[i] = NOBODY;
#endif
#ifdef NO_R1_LOG
            at = (at > 0 -> at - 1 : 0);
#endif
            cut(i, at + 1)
        :: else
        fi
    }
}

inline LOSE(i) {                          /* the disk said that the last record was synced */
    d_step {
        if
        :: losses < LOSSES && size[i] && (role[i] != LEADER || HELD(epoch[i], i) == size[i]) ->
            losses++;
#ifndef NO_R9
            mark[i] = size[i]; mark_epoch[i] = epoch[i];
#endif
            role[i] = FOLLOWER; votes[i] = 0; commit[i] = 0;
            cut(i, size[i])
        :: else
        fi
    }
}

inline WIPE(i) {
    d_step {
        if
        :: wipes < WIPES && epoch[i] ->
            wipes++;
            role[i] = FOLLOWER; votes[i] = 0; commit[i] = 0;
            epoch[i] = 0; vote[i] = NOBODY;
#ifndef NO_R9_INC
            out[i] = 1;
#endif
            cut(i, 1)
        :: else
        fi
    }
}

inline STEP_DOWN(i) {                     /* R8 */
    d_step {
        if
        :: role[i] == LEADER -> step_down(i)
        :: else
        fi
    }
}

/* ---- forced takeover */

inline TAKE_OVER(i) {                     /* an operator makes i the only voter */
    d_step {
        if
        :: takeovers < TAKEOVERS && !out[i] && epoch[i] &&
            TERM(epoch[i]) < TERMS && size[i] < ENTRIES ->
            takeovers++;
            mark[i] = 0; mark_epoch[i] = 0;           /* what is lost, is accepted as lost */
            enter(i, epoch[i] + TERMS + 2);           /* generation and term both rise */
            vote[i] = i + 1;
            lead(i);
            append(i, BIT(i))
        :: else
        fi
    }
}

/* ---- the agent; what a leader sends it bears the epoch of the reign and may come at any time */

#ifdef NO_FENCE
#define NOT_STALE(e) 1
#else
#define NOT_STALE(e) ((e) >= promised)
#endif

inline PROMISE(i) {                       /* its no-op is committed; the agent tells what it runs */
    d_step {
        if
        :: role[i] == LEADER && !HAS(asked, epoch[i]) && commit[i] &&
            REC(i, commit[i]) == epoch[i] && NOT_STALE(epoch[i]) ->
            asked = asked | BIT(epoch[i]);
#ifndef NO_ADRIFT
            accepted_at = (GEN(epoch[i]) > GEN(promised) -> 0 : accepted_at);
#endif
            promised = (epoch[i] > promised -> epoch[i] : promised);
            relied = (epoch[i] > relied -> epoch[i] : relied)
        :: else
        fi
    }
}

#ifdef NO_PROMISE
#define ASKED(e) 1
#else
#define ASKED(e) HAS(asked, e)
#endif

inline TASK(i) {                          /* a leader sends one */
    d_step {
        if
        :: role[i] == LEADER && commit[i] && REC(i, commit[i]) == epoch[i] &&
            !HAS(tasked, epoch[i]) && ASKED(epoch[i]) ->
            tasked = tasked | BIT(epoch[i]);
            relied = (epoch[i] > relied -> epoch[i] : relied)
        :: else
        fi
    }
}

inline RUN(e) {                           /* the agent gets it, now or again, and acts */
    d_step {
        if
        :: HAS(tasked, e) && NOT_STALE(e) ->
            promised = (e > promised -> e : promised);
            assert(e >= relied)
        :: else
        fi
    }
}

inline AGENT_CRASH() {
    d_step {
#ifdef NO_PROMISE_DURABLE
        promised = 0
#else
        skip
#endif
    }
}

/* The agent's journal. Records are requests of tasks, and its stream of them is the log. */

inline ACCEPT(n) {                        /* delivered by the leader that it promised */
    d_step {
        if
        :: HAS(asked, promised) && n <= sent_commit[promised] &&
            (accepted == 0 || (accepted == SENT(promised, n) && accepted_at == 0)) ->
            accepted_at = n;
            accepted = SENT(promised, n)
        :: else
        fi
    }
}

inline BEGIN_AGAIN() {                    /* after a crash: its place is vouched for */
    d_step {
        if
        :: accepted_at && HAS(asked, promised) && accepted_at <= sent_commit[promised] ->
            assert(SENT(promised, accepted_at) == accepted)
        :: else
        fi
    }
}

/* ---- whatever can happen, in any order */

active proctype world() {
    byte i, j, p, n, e, v;
end:
    do
    :: atomic { select(i : 0 .. STANDING - 1); CAMPAIGN(i); i = 0 }
    :: atomic { select(i : 0 .. STANDING - 1); select(j : 0 .. N - 1); GRANT(i, j); i = 0; j = 0 }
    :: atomic { select(i : 0 .. STANDING - 1); WIN(i); i = 0 }
    :: atomic { select(i : 0 .. N - 1); STEP_DOWN(i); i = 0 }
#if RUMOURS
    :: atomic { select(i : 0 .. N - 1); select(j : 0 .. N - 1); LEARN(i, j); i = 0; j = 0 }
#endif
#if DATA
    :: atomic { select(i : 0 .. N - 1); APPEND(i); i = 0 }
#endif
    :: atomic { select(i : 0 .. N - 1); SYNC(i); i = 0 }
    :: atomic {
        select(e : 1 .. EPOCHS - 1);
        if
        :: sent_size[e] ->
            select(j : 0 .. N - 1);
#if PIECES
            select(n : 0 .. sent_size[e]); select(p : 0 .. n);
#else
            n = sent_size[e];
#endif
            TAKE(e, j, p, n)
        :: else
        fi;
        e = 0; j = 0; n = 0; p = 0
       }
    :: atomic { select(i : 0 .. N - 1); select(n : 1 .. ENTRIES); COMMIT(i, n); i = 0; n = 0 }
#if CHANGES
    :: atomic { select(i : 0 .. N - 1); PICK_SET(v); CHANGE(i, v); i = 0; v = 0 }
#endif
#if CRASHES
    :: atomic { select(i : 0 .. N - 1); CRASH(i); i = 0 }
#endif
#if LOSSES
    :: atomic { select(i : 0 .. N - 1); LOSE(i); i = 0 }
#endif
#if WIPES
    :: atomic { select(i : 0 .. N - 1); WIPE(i); i = 0 }
#endif
#if TAKEOVERS
    :: atomic { select(i : 0 .. N - 1); TAKE_OVER(i); i = 0 }
    :: atomic {
        select(e : TERMS + 1 .. EPOCHS - 1); select(j : 0 .. N - 1);
        OFFER(e, j);
        e = 0; j = 0
       }
#endif
#if AGENT
    :: atomic { select(i : 0 .. N - 1); PROMISE(i); i = 0 }
    :: atomic { select(i : 0 .. N - 1); TASK(i); i = 0 }
    :: atomic { select(e : 1 .. EPOCHS - 1); RUN(e); e = 0 }
    :: AGENT_CRASH()
#if JOURNAL
    :: atomic { select(n : 1 .. ENTRIES); ACCEPT(n); n = 0 }
    :: BEGIN_AGAIN()
#endif
#endif
    od
}
