/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "format/date.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was read is written and read again as the same moment. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 65536)
        return 0;
    str in = str_of(data, size);
    BUF_AUTO struct buf out = BUF_INIT(1000);
    struct date d, back;
    int64_t day;
    date_parse_imap_day(in, &day);
    if (date_parse_imap(in, &d)) {
        date_render_imap(&out, d.seconds, d.zone_minutes);
        assert(date_parse_imap(buf_str(&out), &back));
        assert(back.seconds == d.seconds && back.zone_minutes == d.zone_minutes);
    }
    buf_reset(&out);
    if (date_parse(in, &d)) {
        /* Years of fewer than four digits mean others when read again: none are produced. */
        date_render(&out, d.seconds, d.zone_minutes);
        assert(date_parse(buf_str(&out), &back));
        assert(back.seconds == d.seconds && back.zone_minutes == d.zone_minutes);
    }
    return 0;
}
