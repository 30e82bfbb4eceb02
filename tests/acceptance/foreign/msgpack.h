/* Reading MessagePack with a cursor. What is malformed sets `bad`, after which all reads give 0. */
#ifndef MSGPACK_H
#define MSGPACK_H

#include <stddef.h>
#include <stdint.h>

struct cursor {
    const uint8_t *at, *end;
    int bad;
};

struct bytes {
    const uint8_t *data;
    size_t size;
};

static uint64_t mp_big_endian(struct cursor *c, int size)
{
    uint64_t value = 0;
    if (c->bad || c->end - c->at < size) {
        c->bad = 1;
        return 0;
    }
    while (size--)
        value = value << 8 | *c->at++;
    return value;
}

static struct bytes mp_take(struct cursor *c, uint64_t size)
{
    struct bytes taken = {c->at, 0};
    if (c->bad || (uint64_t)(c->end - c->at) < size) {
        c->bad = 1;
        return taken;
    }
    taken.size = (size_t)size;
    c->at += size;
    return taken;
}

static uint64_t mp_uint(struct cursor *c)
{
    uint8_t tag = (uint8_t)mp_big_endian(c, 1);
    if (tag < 0x80)
        return tag;
    if (tag >= 0xcc && tag <= 0xcf)
        return mp_big_endian(c, 1 << (tag - 0xcc));
    c->bad = 1;
    return 0;
}

static int mp_bool(struct cursor *c)
{
    uint8_t tag = (uint8_t)mp_big_endian(c, 1);
    c->bad |= tag != 0xc2 && tag != 0xc3;
    return tag == 0xc3;
}

static uint64_t mp_array(struct cursor *c)
{
    uint8_t tag = (uint8_t)mp_big_endian(c, 1);
    if (tag >> 4 == 9)
        return tag & 15;
    if (tag == 0xdc || tag == 0xdd)
        return mp_big_endian(c, tag == 0xdc ? 2 : 4);
    c->bad = 1;
    return 0;
}

/* A str or a bin. */
static struct bytes mp_bytes(struct cursor *c)
{
    uint8_t tag = (uint8_t)mp_big_endian(c, 1);
    if (tag >> 5 == 5)
        return mp_take(c, tag & 31);
    if (tag >= 0xc4 && tag <= 0xc6)
        return mp_take(c, mp_big_endian(c, 1 << (tag - 0xc4)));
    if (tag >= 0xd9 && tag <= 0xdb)
        return mp_take(c, mp_big_endian(c, 1 << (tag - 0xd9)));
    c->bad = 1;
    return mp_take(c, 0);
}

#endif
