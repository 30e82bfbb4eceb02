/* A subscriber of the whole log, written from docs/wire-protocol.md alone.
 *
 *     subscriber PUBLIC SECRET  NAME REQUESTS PUBLICATIONS KEY  [NAME REQUESTS PUBLICATIONS KEY]...
 *
 * Its own keys, then the voters: name, the two addresses, public key. It listens to one voter at a
 * time, misses nothing (section 4 of the document), checks each record's hash, and prints, a line each:
 *
 *     cluster ID                 what hash(0) is made of
 *     listen NAME                to whom it listens from here on
 *     fetch SEQ                  it asks for the records from SEQ on
 *     record SEQ HASH KIND       the next record, verified
 *     generation N               an operator forced a takeover; the last record was compared again
 *     trouble TEXT               something to sit out
 *
 * It ends only by a signal, or with status 2 if the log contradicts itself, 3 if its key is refused.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zmq.h>

#include "msgpack.h"
#include "sha256.h"

#define SILENCE_MS 3500 /* without a heartbeat for so long, another voter is listened to */
#define PATIENCE_MS 2000 /* without a reply for so long, the request is made again */
#define AGAIN_MS 200
#define EVENTS "inproc://events"

enum status { WHOLE = 0, PART = 1, FAILED = 2 };
enum asked { NOTHING, HEAD, RANGE, COMPARE };

struct voter {
    const char *name, *requests, *publications, *key;
};

static struct {
    void *context, *requests, *publications, *events;
    const char *public_key, *secret_key;
    const struct voter *voters;
    int count, current;

    int rooted; /* the cluster's id is known, so `hash` says something */
    uint64_t seq, generation;
    uint8_t hash[32];

    enum asked asked;
    uint64_t id, asked_ms, again_ms, heard_ms;
    int wanted;  /* something is missing: fetch */
    int compare; /* compare the last record again before going on (rule 6) */
} my;

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void contradiction(const char *what)
{
    printf("contradiction %s behind %llu\n", what, (unsigned long long)my.seq);
    exit(2);
}

/* ---- sockets (section 1) */

static void *secured(int kind)
{
    int none = 0;
    void *socket = zmq_socket(my.context, kind);
    zmq_setsockopt(socket, ZMQ_LINGER, &none, sizeof none);
    zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, my.public_key, 40);
    zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, my.secret_key, 40);
    zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, my.voters[my.current].key, 40);
    return socket;
}

static void open_requests(void)
{
    int yes = 1;
    if (my.requests) {
        zmq_socket_monitor(my.requests, NULL, 0);
        zmq_close(my.events);
        zmq_close(my.requests);
    }
    my.requests = secured(ZMQ_DEALER);
    zmq_setsockopt(my.requests, ZMQ_IMMEDIATE, &yes, sizeof yes);
    zmq_socket_monitor(my.requests, EVENTS, ZMQ_EVENT_HANDSHAKE_FAILED_AUTH);
    my.events = zmq_socket(my.context, ZMQ_PAIR);
    zmq_connect(my.events, EVENTS);
    if (zmq_connect(my.requests, my.voters[my.current].requests))
        exit(4);
    my.asked = NOTHING;
}

static void listen_to(int voter)
{
    my.current = voter;
    if (my.publications)
        zmq_close(my.publications);
    my.publications = secured(ZMQ_SUB);
    zmq_setsockopt(my.publications, ZMQ_SUBSCRIBE, "*", 2); /* with its NUL */
    zmq_setsockopt(my.publications, ZMQ_SUBSCRIBE, "hb", 3);
    if (zmq_connect(my.publications, my.voters[voter].publications))
        exit(4);
    open_requests();
    my.heard_ms = now_ms();
    my.wanted = 1;
    printf("listen %s\n", my.voters[voter].name);
}

/* ---- requests (section 2) */

static size_t put_uint(uint8_t *at, uint64_t value)
{
    *at++ = 0xcf;
    for (int i = 56; i >= 0; i -= 8)
        *at++ = (uint8_t)(value >> i);
    return 9;
}

static size_t put_text(uint8_t *at, const char *text)
{
    size_t size = strlen(text);
    *at = (uint8_t)(0xa0 | size);
    memcpy(at + 1, text, size);
    return size + 1;
}

static void ask(enum asked what)
{
    uint8_t frame[64];
    size_t n = 0;
    frame[n++] = 0x96; /* v, id, kind, timeout_ms, key, body */
    frame[n++] = 1;
    n += put_uint(frame + n, ++my.id);
    n += put_text(frame + n, what == HEAD ? "head" : "range");
    n += put_uint(frame + n, PATIENCE_MS);
    frame[n++] = 0xc0;
    if (what == HEAD) {
        frame[n++] = 0xc0;
    } else if (what == RANGE) {
        frame[n++] = 0x91; /* first; to the head */
        n += put_uint(frame + n, my.seq + 1);
    } else {
        frame[n++] = 0x92; /* first, last */
        n += put_uint(frame + n, my.seq);
        n += put_uint(frame + n, my.seq);
    }
    if (zmq_send(my.requests, frame, n, ZMQ_DONTWAIT) < 0) { /* no connection yet */
        my.again_ms = now_ms() + AGAIN_MS;
        return;
    }
    my.asked = what;
    my.asked_ms = now_ms();
    if (what == RANGE)
        printf("fetch %llu\n", (unsigned long long)my.seq + 1);
}

/* ---- records (sections 3 and 4) */

static void next_hash(struct bytes encoded, uint8_t digest[32])
{
    struct sha256 sum;
    sha256_begin(&sum);
    sha256_add(&sum, "\x02", 1);
    sha256_add(&sum, my.hash, 32);
    sha256_add(&sum, encoded.data, encoded.size);
    sha256_end(&sum, digest);
}

static void take_record(struct bytes encoded, struct bytes hash)
{
    struct cursor c = {encoded.data, encoded.data + encoded.size, 0};
    uint8_t digest[32];
    mp_array(&c);
    mp_uint(&c); /* v */
    uint64_t seq = mp_uint(&c);
    for (int i = 0; i < 3; i++)
        mp_uint(&c); /* gen, term, time */
    mp_bytes(&c);    /* event_id */
    struct bytes kind = mp_bytes(&c);
    if (c.bad)
        contradiction("a record that cannot be read");
    if (seq > my.seq + 1)
        my.wanted = 1;
    if (seq != my.seq + 1)
        return;
    next_hash(encoded, digest);
    if (hash.size != 32 || memcmp(digest, hash.data, 32))
        contradiction("another hash");
    memcpy(my.hash, digest, 32);
    my.seq = seq;
    printf("record %llu ", (unsigned long long)seq);
    for (int i = 0; i < 32; i++)
        printf("%02x", digest[i]);
    printf(" %.*s\n", (int)kind.size, (const char *)kind.data);
}

static void take_records(struct cursor *c)
{
    for (uint64_t left = mp_array(c); left && !c->bad; left--) {
        mp_array(c);
        struct bytes encoded = mp_bytes(c), hash = mp_bytes(c);
        if (!c->bad)
            take_record(encoded, hash);
    }
}

static void saw_generation(uint64_t generation)
{
    if (my.generation && generation > my.generation)
        my.compare = 1;
    if (generation > my.generation)
        my.generation = generation;
}

static void take_root(struct cursor *c)
{
    struct sha256 sum;
    mp_array(c);
    struct bytes cluster = mp_bytes(c);
    if (c->bad || my.rooted)
        return;
    sha256_begin(&sum);
    sha256_add(&sum, "\x02", 1);
    sha256_add(&sum, cluster.data, cluster.size);
    sha256_end(&sum, my.hash);
    my.rooted = 1;
    printf("cluster %.*s\n", (int)cluster.size, (const char *)cluster.data);
}

static void take_comparison(struct cursor *c)
{
    mp_array(c);
    if (mp_array(c) == 0)
        contradiction("the last record is gone");
    mp_array(c);
    mp_bytes(c);
    struct bytes hash = mp_bytes(c);
    if (!c->bad && memcmp(hash.data, my.hash, 32))
        contradiction("another last record");
    my.compare = 0;
    printf("generation %llu\n", (unsigned long long)my.generation);
}

static void on_reply(struct cursor *c)
{
    enum asked asked = my.asked;
    mp_array(c);
    mp_uint(c); /* v */
    uint64_t id = mp_uint(c), status = mp_uint(c), generation = mp_uint(c);
    mp_uint(c); /* term */
    mp_bool(c); /* leads */
    mp_uint(c); /* as_of */
    if (c->bad || id != my.id || asked == NOTHING)
        return;
    my.asked = NOTHING;
    if (status == FAILED) {
        mp_array(c);
        struct bytes code = mp_bytes(c);
        printf("trouble %.*s\n", (int)code.size, (const char *)code.data);
        my.again_ms = now_ms() + AGAIN_MS;
        return;
    }
    if (asked == HEAD) {
        take_root(c);
    } else if (asked == COMPARE) {
        take_comparison(c);
    } else {
        mp_array(c);
        take_records(c);
        my.wanted = mp_bool(c);
    }
    saw_generation(generation);
}

static void on_heartbeat(struct cursor *c)
{
    mp_array(c);
    mp_uint(c); /* v */
    saw_generation(mp_uint(c));
    mp_uint(c); /* term */
    mp_bool(c); /* leads */
    struct bytes voter = mp_bytes(c), leader = mp_bytes(c);
    uint64_t head = mp_uint(c);
    if (c->bad)
        return;
    my.heard_ms = now_ms();
    if (head > my.seq)
        my.wanted = 1;
    if (leader.size == voter.size && !memcmp(leader.data, voter.data, voter.size))
        return;
    for (int i = 0; i < my.count; i++)
        if (strlen(my.voters[i].name) == leader.size && i != my.current &&
            !memcmp(my.voters[i].name, leader.data, leader.size)) {
            listen_to(i);
            return;
        }
}

static void on_publication(struct cursor *header, struct cursor *body)
{
    mp_array(header);
    mp_uint(header); /* v */
    saw_generation(mp_uint(header));
    if (my.rooted && !my.compare && !header->bad)
        take_records(body);
}

/* ---- the loop */

static struct cursor over(zmq_msg_t *frame)
{
    const uint8_t *data = zmq_msg_data(frame);
    struct cursor c = {data, data + zmq_msg_size(frame), 0};
    return c;
}

/* Take a message of up to three frames; return how many there were, 0 if there is none now. */
static int receive(void *socket, zmq_msg_t frames[3])
{
    int count = 0, more = 1;
    while (more) {
        zmq_msg_t *frame = &frames[count < 3 ? count : 2];
        if (count >= 3)
            zmq_msg_close(frame); /* a later version's: ignored */
        zmq_msg_init(frame);
        if (zmq_msg_recv(frame, socket, ZMQ_DONTWAIT) < 0)
            return count;
        count++;
        more = zmq_msg_more(frame);
    }
    return count;
}

static void on_publications(void)
{
    zmq_msg_t frames[3];
    void *from = my.publications;
    int count;
    while (from == my.publications && (count = receive(from, frames)) > 0) {
        struct cursor second = over(&frames[1]);
        if (count == 2) {
            on_heartbeat(&second);
        } else if (count == 3) {
            struct cursor third = over(&frames[2]);
            on_publication(&second, &third);
        }
        for (int i = 0; i < count && i < 3; i++)
            zmq_msg_close(&frames[i]);
    }
}

static void on_replies(void)
{
    zmq_msg_t frames[3];
    while (receive(my.requests, frames) == 1) {
        struct cursor only = over(&frames[0]);
        on_reply(&only);
        zmq_msg_close(&frames[0]);
    }
}

static void on_timer(void)
{
    uint64_t now = now_ms();
    if (now - my.heard_ms > SILENCE_MS)
        listen_to((my.current + 1) % my.count);
    if (my.asked != NOTHING && now - my.asked_ms > PATIENCE_MS) {
        printf("trouble no reply\n");
        open_requests();
    }
    if (my.asked != NOTHING || now < my.again_ms)
        return;
    if (!my.rooted)
        ask(HEAD);
    else if (my.compare)
        ask(COMPARE);
    else if (my.wanted)
        ask(RANGE);
}

int main(int argc, char **argv)
{
    if (argc < 7 || (argc - 3) % 4) {
        fprintf(stderr, "usage: %s PUBLIC SECRET (NAME REQUESTS PUBLICATIONS KEY)...\n", argv[0]);
        return 64;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    my.context = zmq_ctx_new();
    my.public_key = argv[1];
    my.secret_key = argv[2];
    my.count = (argc - 3) / 4;
    my.voters = (const struct voter *)(void *)(argv + 3); /* four strings each */
    listen_to(0);
    for (;;) {
        zmq_pollitem_t items[] = {{my.publications, 0, ZMQ_POLLIN, 0},
                                  {my.requests, 0, ZMQ_POLLIN, 0},
                                  {my.events, 0, ZMQ_POLLIN, 0}};
        if (zmq_poll(items, 3, 100) < 0 && errno != EINTR)
            return 4;
        if (items[2].revents & ZMQ_POLLIN) {
            printf("trouble this key is refused\n");
            return 3;
        }
        if (items[1].revents & ZMQ_POLLIN)
            on_replies();
        if (items[0].revents & ZMQ_POLLIN)
            on_publications();
        on_timer();
    }
}
