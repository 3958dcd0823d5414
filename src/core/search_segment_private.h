/* SPDX-License-Identifier: Apache-2.0
 *
 * search_segment_private: shared by the builder and the reader of segments.
 */
#ifndef CORE_SEARCH_SEGMENT_PRIVATE_H
#define CORE_SEARCH_SEGMENT_PRIVATE_H

#include "base/code.h"
#include "core/search_segment.h"

#define SEGMENT_MAGIC "PHSg"
/* 3 lacks addresses without their comments, 2 has no positions, 1 lacks East Asian sets. */
#define SEGMENT_VERSION 4
#define SEGMENT_STOP '\xff'
#define SEGMENT_WORD_MAX 64   /* bytes of a token in the dictionary; longer ones are cut up */
#define SEGMENT_NEEDLE_MAX 32 /* of these any part is whole in one piece */
#define SEGMENT_BLOCK_MAX (8 * SEGMENT_MESSAGE_MAX)
#define SEGMENT_NO_BLOCK UINT32_MAX

static inline uint32_t segment_crc(uint32_t crc, str s) { return code_crc32c(crc, s.data, s.len); }

/* Bytes of the character at the front. */
static inline size_t segment_character(str s)
{
    size_t n = 1;
    while (n < s.len && ((uint8_t)s.data[n] & 0xc0) == 0x80)
        n++;
    return n;
}

/* Where in a message a token stands. */
enum {
    SEGMENT_SUBJECT = 1,
    SEGMENT_FROM = 2,
    SEGMENT_TO = 4,
    SEGMENT_CC = 8,
    SEGMENT_BCC = 16,
    SEGMENT_OTHER = 32, /* values of other fields */
    SEGMENT_META = 64,  /* names of fields, headers of parts */
    SEGMENT_BODY = 128,
    SEGMENT_ALL = 255,
};

/* ---- positions ----
 * The tokens of a document are numbered, and each knows what stands between it and the one before,
 * so that a phrase is decided without its text. */

/* A byte; one that has no name here is the one character of ASCII that stands there. */
enum segment_gap {
    SEGMENT_GAP_NONE = 1,    /* nothing: the next character, or a word behind characters */
    SEGMENT_GAP_COLON,       /* ": ": maybe the end of a field's name */
    SEGMENT_GAP_COMMA,       /* ", " */
    SEGMENT_GAP_STOP,        /* ". " */
    SEGMENT_GAP_LINE,        /* CR LF */
    SEGMENT_GAP_OTHER = 255, /* anything else, which must be compared; a record begins */
};
static inline uint8_t segment_gap_of(str between)
{
    if (between.len == 0)
        return SEGMENT_GAP_NONE;
    if (between.len == 1)
        return between.data[0] > SEGMENT_GAP_LINE ? (uint8_t)between.data[0] : SEGMENT_GAP_OTHER;
    return str_eq(between, STR(": "))     ? SEGMENT_GAP_COLON
           : str_eq(between, STR(", "))   ? SEGMENT_GAP_COMMA
           : str_eq(between, STR(". "))   ? SEGMENT_GAP_STOP
           : str_eq(between, STR("\r\n")) ? SEGMENT_GAP_LINE
                                          : SEGMENT_GAP_OTHER;
}
/* Of a segment: each is a byte of its texts at least. */
#define SEGMENT_POSITIONS_MAX ((size_t)1 << 28)
/* The records of a document in this order, each class from a position of its own. */
enum segment_class {
    SEGMENT_CLASS_SUBJECT,
    SEGMENT_CLASS_FROM,
    SEGMENT_CLASS_TO,
    SEGMENT_CLASS_CC,
    SEGMENT_CLASS_BCC,
    SEGMENT_CLASS_OTHER, /* other fields, fields of parts */
    SEGMENT_CLASS_BODY,
    SEGMENT_CLASSES,
};

/* ---- asking the dictionary ---- */
#define SEGMENT_PARTS_MAX 16
/* A token of a needle, with SEGMENT_STOP where it must begin or end one of the text. */
struct segment_part {
    char bytes[SEGMENT_WORD_MAX + 2];
    size_t len;
    uint8_t gap; /* to the part before */
};
struct segment_plan {
    struct segment_part parts[SEGMENT_PARTS_MAX];
    size_t n;
    bool positions; /* it can only be where the parts follow one another with their gaps … */
    bool exact;     /* … and there it is */
};
void segment_plan_make(str needle, struct segment_plan *p);
/* The documents of a term, one after the other. */
struct segment_postings {
    const uint8_t *at, *end;
    uint64_t doc;
    uint8_t fields;
};
struct segment_postings segment_postings_of(const struct segment *s, uint32_t term);
bool segment_postings_next(const struct segment *s, struct segment_postings *p);
uint64_t segment_varint_long(const uint8_t **at, const uint8_t *end);
static inline uint64_t segment_varint(const uint8_t **at, const uint8_t *end) /* at the end: 0 */
{
    if (*at < end && **at < 0x80)
        return *(*at)++;
    return segment_varint_long(at, end);
}
/* The terms that hold the parts of a plan. */
struct segment_terms {
    struct buf list; /* u32, ascending for each part */
    uint32_t begin[SEGMENT_PARTS_MAX + 1];
};

/* Clears the answers of documents in which the parts do not follow one another with their gaps
 * inside one class (SEGMENT_CLASSES: any). */
enum err segment_ask_positions(const struct segment *s, const struct segment_plan *p,
                               const struct segment_terms *terms, enum segment_class class,
                               const struct segment_source *source, uint8_t *answers) WAITS MUST;

static inline uint8_t segment_field_of_name(str name)
{
    return str_eq(name, STR("subject")) ? SEGMENT_SUBJECT
           : str_eq(name, STR("from"))  ? SEGMENT_FROM
           : str_eq(name, STR("to"))    ? SEGMENT_TO
           : str_eq(name, STR("cc"))    ? SEGMENT_CC
           : str_eq(name, STR("bcc"))   ? SEGMENT_BCC
                                        : SEGMENT_OTHER;
}

#endif
