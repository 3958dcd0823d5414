/* SPDX-License-Identifier: Apache-2.0 */
#include "core/forward.h"

#include "core/credentials.h"
#include "core/srs.h"
#include "os/clock.h"

#define ADDRESS_MAX 1024

/* ERR_NO_DOMAIN: it is not ours. */
static enum err our_domain(struct directory *d, str address, struct arena *a, str *out) WAITS
{
    struct domain domain;
    TRY(directory_normalise_domain(queue_domain_of(address), a, out));
    return directory_domain_get(d, *out, a, &domain);
}

static enum err lead_back(struct directory *d, str address, struct arena *a,
                          struct resolution *out) WAITS
{
    uint8_t secret[SRS_SECRET_BYTES];
    BUF_AUTO struct buf to = BUF_INIT(ADDRESS_MAX);
    str ours;
    TRY(our_domain(d, address, a, &ours));
    TRY(directory_secret(d, secret));
    if (srs_reverse(secret, address, clock_wall_s(), &to) != ERR_OK)
        return ERR_NO_USER;
    struct resolution_target *t = ARENA_NEW(a, struct resolution_target);
    if (!t || !arena_dup(a, buf_str(&to), &t->address))
        return ERR_LIMIT;
    *out = (struct resolution){.address = address, .targets = t, .ntargets = 1, .here = true};
    return ERR_OK;
}

enum err forward_resolve(struct directory *d, str address, struct arena *a, struct resolution *out)
{
    enum err back = srs_is(address) ? lead_back(d, address, a, out) : ERR_NO_DOMAIN;
    if (back == ERR_OK || err_class(back) == ERR_CLASS_TEMP)
        return back;
    enum err e = directory_resolve(d, address, a, out);
    if (e == ERR_OK && !out->here && out->ntargets == 1) {
        /* RFC 5321 2.4: the case of another's local part is not ours to change. */
        struct resolution_target *t = ARENA_NEW(a, struct resolution_target);
        if (!t)
            return ERR_LIMIT;
        *t = (struct resolution_target){.address = address};
        out->targets = t;
    }
    return e;
}

enum err forward_sender(struct directory *d, const struct envelope *e,
                        const struct queue_recipient *r, struct arena *a, str *out)
{
    uint8_t secret[SRS_SECRET_BYTES];
    BUF_AUTO struct buf sender = BUF_INIT(ADDRESS_MAX * 2);
    str ours, theirs;
    *out = e->sender;
    if (str_empty(e->sender) || str_eq_nocase(r->address, r->original))
        return ERR_OK;
    enum err err = our_domain(d, r->original, a, &ours);
    if (err != ERR_OK)
        return err_class(err) == ERR_CLASS_TEMP ? err : ERR_OK;
    err = our_domain(d, e->sender, a, &theirs);
    if (err == ERR_OK || err_class(err) == ERR_CLASS_TEMP)
        return err;
    TRY(directory_secret(d, secret));
    if (srs_forward(secret, e->sender, ours, clock_wall_s(), &sender) != ERR_OK)
        return ERR_OK; /* a sender without a domain: as it came */
    return arena_dup(a, buf_str(&sender), out) ? ERR_OK : ERR_LIMIT;
}
