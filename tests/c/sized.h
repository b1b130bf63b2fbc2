/*
 * What the programs that misuse share: structs that say their size, with room for a later version's members and beyond, to
 * see what is written where.
 */
#ifndef SIZED_H
#define SIZED_H

#include "check.h"

#define CANARY 0xAA
#define LATER 16
#define BEYOND 32
#define COUNT(array) (sizeof(array) / sizeof *(array))
/* Sizes that no version of a struct with at least this size has. */
#define BAD_SIZES(type) { 0, 1, 4, sizeof(type) - 1, UINT32_MAX }

/* Whether a struct is of the size that it says, its members zero, the bytes beyond untouched. */
static inline void is_zeroed(const void *room, uint32_t struct_size, size_t room_size)
{
    uint32_t kept;
    memcpy(&kept, room, sizeof kept);
    CHECK(kept == struct_size);
    CHECK(all_bytes((const char *)room + 4, struct_size - 4, 0));
    CHECK(all_bytes((const char *)room + struct_size, room_size - struct_size, CANARY));
}

#endif
