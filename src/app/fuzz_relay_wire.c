/* SPDX-License-Identifier: Apache-2.0
 *
 * The rows between the house and the relay, in both directions: the first byte chooses which.
 */
#include "app/relay_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum dns_type types[] = {DNS_A, DNS_PTR, DNS_MX, DNS_TXT, DNS_AAAA, DNS_TLSA};
    if (size < 2)
        return 0;
    ARENA_AUTO struct arena arena = ARENA_INIT(4 << 20);
    str row = str_of(data + 2, size - 2);
    struct dns_answer answer;
    struct relay_job job;
    struct relay_report report;
    struct relay_fetch fetch;
    struct relay_scan scan;
    struct relay_fetched fetched;
    enum err e = ERR_OK;
    switch (data[0] % 6) {
    case 0:
        e = wire_answer_take(row, types[data[1] % 6], &arena, &answer);
        break;
    case 1:
        e = wire_job_take(row, &arena, &job);
        break;
    case 2:
        e = wire_report_take(row, data[1], &arena, &report);
        break;
    case 3:
        e = wire_fetch_take(row, &fetch);
        break;
    case 4:
        e = wire_scan_take(row, &arena, &scan);
        break;
    default:
        e = wire_fetched_take(row, 1000, &fetched);
        break;
    }
    (void)e;
    return 0;
}
