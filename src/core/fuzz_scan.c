/* SPDX-License-Identifier: Apache-2.0
 *
 * A scanner's answer, hostile, applied to a message: "JSON NUL message".
 */
#include <assert.h>

#include "base/num.h"
#include "base/utf8.h"
#include "core/scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void gather(void *context, str bytes) { buf_add(context, bytes); }

/* Nothing in it can end the field. */
static void value_is_safe(str value)
{
    for (size_t i = 0; i < value.len; i++) {
        uint8_t c = (uint8_t)value.data[i];
        if (c == '\r') {
            assert(i + 3 < value.len && value.data[i + 1] == '\n' && value.data[i + 2] == '\t');
            assert(value.data[i + 3] > ' ');
            i += 2;
            continue;
        }
        assert(c == '\t' || (c >= ' ' && c < 0x7f));
    }
}

static void printable(str text)
{
    for (size_t i = 0; i < text.len; i++)
        assert(text.data[i] >= ' ' && text.data[i] < 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    str json, message;
    static struct scan_answer a;
    ARENA_AUTO struct arena arena = ARENA_INIT(4 << 20);
    BUF_AUTO struct buf out = BUF_INIT(1 << 20);
    if (size > 65536)
        return 0;
    str_cut(str_of(data, size), '\0', &json, &message);
    if (scan_answer_parse(json, &arena, &a) != ERR_OK)
        return 0;
    assert(a.nadd <= SCAN_FIELDS_MAX && a.nremove <= SCAN_FIELDS_MAX);
    assert(a.nsymbols <= SCAN_SYMBOLS_MAX && a.message.len <= SCAN_MESSAGE_MAX);
    assert(a.score >= -SCAN_SCORE_MAX && a.score <= SCAN_SCORE_MAX && scan_action_name(a.action));
    printable(a.message);
    for (size_t i = 0; i < a.nsymbols; i++)
        printable(a.symbols[i].name);
    for (size_t i = 0; i < a.nadd; i++)
        value_is_safe(a.add[i].value);
    assert(utf8_valid(a.subject) && str_find_char(a.subject, '\n') == STR_NPOS);
    struct scan_edit e = {.remove = a.remove, .nremove = a.nremove, .subject = a.subject};
    bool changed = scan_edit_apply(&e, message, gather, &out);
    assert(changed || out.len == 0);
    assert(!changed || out.len <= message.len + 8192);
    return 0;
}
