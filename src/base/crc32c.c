/* SPDX-License-Identifier: Apache-2.0
 *
 * CRC-32C (Castagnoli, RFC 3720 appendix B.4; reflected polynomial 0x82f63b78). Every record of the
 * store carries one, so the processor's own instruction is used where there is one.
 */
#include "base/code.h"

#include <string.h>

#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

#define POLYNOMIAL 0x82f63b78u
/* The instruction has a latency of three cycles and a throughput of one: three streams of LANE
 * bytes run side by side, then are joined with a table that says what LANE zero bytes do. */
#define LANE 1024

static uint32_t table[256];
static uint32_t lane_table[4][256];
static bool have_hardware;

static uint32_t by_table(uint32_t crc, const unsigned char *p, size_t len)
{
    while (len--)
        crc = crc >> 8 ^ table[(crc ^ *p++) & 255];
    return crc;
}

#if defined(__x86_64__)
#define HARDWARE __attribute__((target("sse4.2")))
static bool probe_hardware(void) { return __builtin_cpu_supports("sse4.2"); }
HARDWARE static inline uint32_t step8(uint32_t crc, const unsigned char *p)
{
    uint64_t word;
    memcpy(&word, p, 8);
    return (uint32_t)__builtin_ia32_crc32di(crc, word);
}
HARDWARE static inline uint32_t step1(uint32_t crc, unsigned char byte)
{
    return __builtin_ia32_crc32qi(crc, byte);
}
#elif defined(__aarch64__)
#define HARDWARE
#define CAPABILITY_CRC32 (1u << 7) /* HWCAP_CRC32 of arm64 */
static bool probe_hardware(void) { return getauxval(AT_HWCAP) & CAPABILITY_CRC32; }
/* By assembly, since the two compilers name the builtin differently. */
static inline uint32_t step8(uint32_t crc, const unsigned char *p)
{
    uint64_t word;
    memcpy(&word, p, 8);
    __asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(word));
    return crc;
}
static inline uint32_t step1(uint32_t crc, unsigned char byte)
{
    __asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(crc) : "r"((uint32_t)byte));
    return crc;
}
#else
#define HARDWARE
static bool probe_hardware(void) { return false; }
static inline uint32_t step8(uint32_t crc, const unsigned char *p) { return by_table(crc, p, 8); }
static inline uint32_t step1(uint32_t crc, unsigned char byte) { return by_table(crc, &byte, 1); }
#endif

static inline uint32_t past_lane(uint32_t crc)
{
    return lane_table[0][crc & 255] ^ lane_table[1][crc >> 8 & 255] ^
           lane_table[2][crc >> 16 & 255] ^ lane_table[3][crc >> 24];
}

HARDWARE static uint32_t by_hardware(uint32_t crc, const unsigned char *p, size_t len)
{
    for (; len >= 3 * LANE; len -= 3 * LANE, p += 3 * LANE) {
        uint32_t second = 0, third = 0;
        for (size_t i = 0; i < LANE; i += 8) {
            crc = step8(crc, p + i);
            second = step8(second, p + LANE + i);
            third = step8(third, p + 2 * LANE + i);
        }
        crc = past_lane(past_lane(crc) ^ second) ^ third;
    }
    for (; len >= 8; len -= 8, p += 8)
        crc = step8(crc, p);
    while (len--)
        crc = step1(crc, *p++);
    return crc;
}

/* Before main, so that threads only ever read the tables. */
__attribute__((constructor)) static void make_tables(void)
{
    static const unsigned char zeros[LANE];
    for (uint32_t n = 0; n < 256; n++) {
        uint32_t crc = n;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
        table[n] = crc;
    }
    have_hardware = probe_hardware();
    if (!have_hardware)
        return;
    /* Appending zero bytes is linear in the crc: single bits suffice. */
    for (int bit = 0; bit < 32; bit++) {
        uint32_t shifted = by_hardware(1u << bit, zeros, LANE);
        for (uint32_t n = 0; n < 256; n++)
            if (n & 1u << (bit % 8))
                lane_table[bit / 8][n] ^= shifted;
    }
}

uint32_t code_crc32c(uint32_t crc, const void *data, size_t len)
{
    return ~(have_hardware ? by_hardware : by_table)(~crc, data, len);
}
