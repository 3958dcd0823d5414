/* SPDX-License-Identifier: Apache-2.0
 *
 * house_acme: keeps the certificate of ACME fresh: decides when and for which names, asks the
 * parent for a request (its key never comes here), the authority for a chain (core/acme.h), and
 * gives that to the parent. Thread 0 of the house; one order at a time.
 */
#ifndef APP_HOUSE_ACME_H
#define APP_HOUSE_ACME_H

#include "app/certificates.h"
#include "app/house.h"
#include "core/acme_crypto.h"
#include "core/dns_push.h"
#include "format/mta_sts.h"

enum err house_acme_start(struct house_process *h) MUST;
/* An order now, whether one is due or not. *text says what became of it. ERR_BUSY: one is under
 * way. */
enum err house_acme_now(struct house_process *h, bool next_key, struct buf *text) WAITS MUST;
/* The names that the next certificate should have. */
enum err house_acme_names(struct house_process *h, const struct config *c, struct arena *a,
                          str *names, size_t *n) WAITS MUST;

struct house_certificate {
    enum certificate_origin origin;
    struct certificate_facts facts; /* CERTIFICATE_NEXT_KEY: spki only */
};
#define HOUSE_CERTIFICATES_MAX (CERTIFICATES_MAX + 1)
/* What the parent has, as values. list gets an array in the arena. */
enum err house_certificates(struct house_process *h, struct arena *a,
                            struct house_certificate **list, size_t *n) WAITS MUST;

/* MTA_STS_NONE when no policy is served. */
enum mta_sts_mode house_mta_sts_mode(const struct config *c);
/* The name server of dns_update and its key. *error gets a sentence. */
enum err house_dns_push(struct house_process *h, const struct config *c, struct arena *a,
                        struct dns_push *out, struct buf *error) MUST;
/* The zone in which a name is changed: the longest of dns_update.zones, else our domain, else what
 * is behind the first label. */
str house_dns_zone(struct house_process *h, const struct config *c, str name,
                   struct arena *a) WAITS;

#endif
