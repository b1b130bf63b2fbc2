/* Addresses: text and sockaddr, there and back. */
#include "check.h"

#include <stddef.h>
#include <sys/un.h>

static const hp_addr no_address;

static hp_addr parsed(const char *text)
{
    hp_addr addr;
    memset(&addr, 0xAA, sizeof addr);
    CHECK_STATUS(HP_STATUS_OK, hp_addr_parse(text, &addr));
    return addr;
}

/* text → hp_addr → text again, at the edges of the buffer. */
static void text_survives(const char *text, const char *canonical)
{
    hp_addr addr = parsed(text), again;
    char buffer[HP_ADDR_TEXT_LEN];
    size_t needed = 99;
    size_t size = strlen(canonical) + 1;
    CHECK(size <= HP_ADDR_TEXT_LEN);
    CHECK_STATUS(HP_STATUS_OK, hp_addr_format(&addr, buffer, size, &needed));
    CHECK(needed == size);
    CHECK(strcmp(buffer, canonical) == 0);
    again = parsed(buffer);
    CHECK(memcmp(&addr, &again, sizeof addr) == 0);

    memset(buffer, 'x', sizeof buffer);
    needed = 99;
    CHECK_STATUS(HP_STATUS_BUFFER_TOO_SMALL, hp_addr_format(&addr, buffer, size - 1, &needed));
    CHECK(needed == size);
    CHECK(memchr(buffer, '\0', size - 1) != NULL);
    CHECK(all_bytes(buffer + size - 1, sizeof buffer - size + 1, 'x'));
    needed = 99;
    CHECK_STATUS(HP_STATUS_BUFFER_TOO_SMALL, hp_addr_format(&addr, NULL, 0, &needed));
    CHECK(needed == size);
}

/* hp_addr → sockaddr → hp_addr again, at the edges of the buffer and of the length. */
static void sockaddr_survives(const char *text, int family, uint32_t size, const char *back)
{
    hp_addr addr = parsed(text), again, expected = parsed(back);
    struct sockaddr_storage storage;
    uint32_t len = 99;
    memset(&storage, 0xAA, sizeof storage);
    CHECK_STATUS(HP_STATUS_OK, hp_addr_to_sockaddr(&addr, &storage, size, &len));
    CHECK(len == size);
    CHECK(storage.ss_family == family);
    CHECK(all_bytes((char *)&storage + size, sizeof storage - size, 0xAA));
    CHECK_STATUS(HP_STATUS_OK, hp_addr_from_sockaddr(&storage, len, &again));
    CHECK(memcmp(&again, &expected, sizeof again) == 0);
    /* The kernel's buffer is larger than what it filled. */
    CHECK_STATUS(HP_STATUS_OK, hp_addr_from_sockaddr(&storage, sizeof storage, &again));
    CHECK(memcmp(&again, &expected, sizeof again) == 0);

    static const uint32_t bad_lengths[] = { 0, 1, 2, 8, sizeof storage + 1, UINT32_MAX };
    for (size_t i = 0; i < sizeof bad_lengths / sizeof *bad_lengths; i++) {
        again = expected;
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_addr_from_sockaddr(&storage, bad_lengths[i], &again));
        CHECK(memcmp(&again, &no_address, sizeof again) == 0);
    }
    again = expected;
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_addr_from_sockaddr(&storage, size - 1, &again));
    CHECK(memcmp(&again, &no_address, sizeof again) == 0);

    memset(&storage, 0xAA, sizeof storage);
    len = 99;
    CHECK_STATUS(HP_STATUS_BUFFER_TOO_SMALL, hp_addr_to_sockaddr(&addr, &storage, size - 1, &len));
    CHECK(len == size);
    CHECK(all_bytes((char *)&storage + size - 1, sizeof storage - size + 1, 0xAA));
    len = 99;
    CHECK_STATUS(HP_STATUS_BUFFER_TOO_SMALL, hp_addr_to_sockaddr(&addr, NULL, 0, &len));
    CHECK(len == size);
}

/* What stands in an hp_addr is what the header says, not merely what comes back. */
static void fields_are_as_documented(void)
{
    static const uint8_t v4[16] = { 192, 0, 2, 1 };
    static const uint8_t v6[16] = { 0xFE, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9 };
    hp_addr addr = parsed("192.0.2.1:5000");
    CHECK(addr.family == HP_FAMILY_IPV4 && addr.port == 5000 && addr.scope == 0);
    CHECK(memcmp(addr.ip, v4, sizeof v4) == 0);
    addr = parsed("[fe80::9%7]:1");
    CHECK(addr.family == HP_FAMILY_IPV6 && addr.port == 1 && addr.scope == 7);
    CHECK(memcmp(addr.ip, v6, sizeof v6) == 0);
}

/* Against the system's own structs, so that no two errors cancel out. */
static void sockaddrs_are_the_systems(void)
{
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    uint32_t len;
    hp_addr addr = parsed("192.0.2.1:5000");
    CHECK_STATUS(HP_STATUS_OK, hp_addr_to_sockaddr(&addr, &in, sizeof in, &len));
    CHECK(in.sin_family == AF_INET && ntohs(in.sin_port) == 5000 && ntohl(in.sin_addr.s_addr) == 0xC0000201);

    addr = parsed("[fe80::9%7]:5000");
    CHECK_STATUS(HP_STATUS_OK, hp_addr_to_sockaddr(&addr, &in6, sizeof in6, &len));
    CHECK(in6.sin6_family == AF_INET6 && ntohs(in6.sin6_port) == 5000 && in6.sin6_scope_id == 7);
    CHECK(memcmp(&in6.sin6_addr, addr.ip, 16) == 0 && in6.sin6_flowinfo == 0);

    /* A flow label, as the kernel may report it, is no part of who sent. */
    in6.sin6_flowinfo = htonl(0x12345);
    hp_addr again;
    CHECK_STATUS(HP_STATUS_OK, hp_addr_from_sockaddr(&in6, sizeof in6, &again));
    CHECK(memcmp(&addr, &again, sizeof addr) == 0);
}

static void other_families_are_refused(void)
{
    struct sockaddr_un un;
    hp_addr addr = parsed("192.0.2.1:5000");
    memset(&un, 0, sizeof un);
    un.sun_family = AF_UNIX;
    strcpy(un.sun_path, "/nowhere");
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_addr_from_sockaddr(&un, sizeof un, &addr));
    CHECK(memcmp(&addr, &no_address, sizeof addr) == 0);
    /* An unnamed socket's address ends after the family. */
    const uint32_t unnamed = offsetof(struct sockaddr_un, sun_path);
    CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_addr_from_sockaddr(&un, unnamed, &addr));

    static const uint16_t families[] = { HP_FAMILY_NONE, 1, 5, 10, UINT16_MAX };
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        struct sockaddr_storage storage;
        char text[HP_ADDR_TEXT_LEN] = "stale";
        size_t needed = 99;
        uint32_t len = 99;
        addr = parsed("192.0.2.1:5000");
        addr.family = families[i];
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_addr_to_sockaddr(&addr, &storage, sizeof storage, &len));
        CHECK(len == 0);
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_addr_format(&addr, text, sizeof text, &needed));
        CHECK(needed == 0);
        CHECK(text[0] == '\0');
    }
}

static void bad_text_is_refused(void)
{
    static const char *const bad[] = {
        "", ":", "192.0.2.1", "192.0.2.1:", ":5000", "192.0.2.1:65536", "192.0.2.1:-1", "192.0.2.256:1", "192.0.2:1",
        " 192.0.2.1:1", "192.0.2.1:1 ", "localhost:1", "2001:db8::1", "2001:db8::1:1x", "[2001:db8::1]", "[2001:db8::1]:",
        "[192.0.2.1]:1", "[::1%eth0]:1", "[::1%4294967296]:1", "\xFF\xFE:1",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        hp_addr addr = parsed("192.0.2.1:5000");
        if (hp_addr_parse(bad[i], &addr) != HP_STATUS_INVALID_ARGUMENT)
            fprintf(stderr, "\"%s\"\n", bad[i]);
        CHECK_STATUS(HP_STATUS_INVALID_ARGUMENT, hp_addr_parse(bad[i], &addr));
        CHECK(memcmp(&addr, &no_address, sizeof addr) == 0);
    }
}

int main(void)
{
    const uint32_t v4 = sizeof(struct sockaddr_in), v6 = sizeof(struct sockaddr_in6);
    end_at_the_latest_in(60);
    text_survives("192.0.2.1:5000", "192.0.2.1:5000");
    text_survives("0.0.0.0:0", "0.0.0.0:0");
    text_survives("255.255.255.255:65535", "255.255.255.255:65535");
    text_survives("[2001:db8::1]:5000", "[2001:db8::1]:5000");
    text_survives("[2001:0DB8:0:0:0:0:0:1]:80", "[2001:db8::1]:80");
    text_survives("[fe80::1%7]:5000", "[fe80::1%7]:5000");
    text_survives("[::ffff:192.0.2.1]:5000", "[::ffff:192.0.2.1]:5000");
    /* The longest there is. */
    text_survives("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535",
                  "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535");

    sockaddr_survives("192.0.2.1:5000", AF_INET, v4, "192.0.2.1:5000");
    sockaddr_survives("[2001:db8::1]:5000", AF_INET6, v6, "[2001:db8::1]:5000");
    sockaddr_survives("[fe80::1%4294967295]:65535", AF_INET6, v6, "[fe80::1%4294967295]:65535");
    /* As a socket that takes both families reports IPv4 senders. */
    sockaddr_survives("[::ffff:192.0.2.1]:5000", AF_INET6, v6, "192.0.2.1:5000");
    sockaddr_survives("[::ffff:192.0.2.1%7]:5000", AF_INET6, v6, "192.0.2.1:5000");

    fields_are_as_documented();
    sockaddrs_are_the_systems();
    other_families_are_refused();
    bad_text_is_refused();
    return 0;
}
