/* SPDX-License-Identifier: Apache-2.0 */
#include "core/urlkey.h"

#include <assert.h>
#include <openssl/hmac.h>
#include <string.h>

#include "core/account_private.h"
#include "os/rand.h"

#define ROW_VERSION 1
#define ROW_BYTES (2 + URLKEY_BYTES)

bool urlkey_row_valid(str row)
{
    return row.len == ROW_BYTES && row.data[0] == SPACE_URLKEY && row.data[1] == ROW_VERSION;
}

static enum err read_key(struct account *a, uint32_t mailbox, uint8_t out[URLKEY_BYTES])
{
    BUF_AUTO struct buf row = BUF_INIT(1024);
    struct store_key key = key_urlkey(mailbox);
    TRY(store_get(accounts_store(a->owner), a->id, key_str(&key), &row));
    if (!urlkey_row_valid(buf_str(&row)))
        return ERR_CORRUPT;
    memcpy(out, row.data + 2, URLKEY_BYTES);
    return ERR_OK;
}

struct key_step {
    struct account *account;
    uint32_t mailbox;
};

/* Two sessions that make one at a time: the later one holds, so the caller reads it again. */
static enum err make_step(struct change *c, void *arg)
{
    const struct key_step *s = arg;
    char row[ROW_BYTES] = {SPACE_URLKEY, ROW_VERSION};
    if (!mailbox_get(s->account, s->mailbox))
        return ERR_NOT_FOUND;
    rand_bytes(row + 2, URLKEY_BYTES);
    change_put(c, key_urlkey(s->mailbox), str_of(row, sizeof row));
    change_expect(c, key_urlkey(s->mailbox), STR_NONE);
    return ERR_OK;
}

static enum err reset_step(struct change *c, void *arg)
{
    const struct key_step *s = arg;
    if (s->mailbox)
        change_delete(c, key_urlkey(s->mailbox));
    else
        change_delete_range(c, key_space(SPACE_URLKEY), key_space_end(SPACE_URLKEY));
    return ERR_OK;
}

enum err urlkey_sign(struct account *a, uint32_t mailbox, str rump, bool make,
                     uint8_t out[URLKEY_BYTES])
{
    uint8_t key[URLKEY_BYTES];
    unsigned len = 0;
    enum err e = read_key(a, mailbox, key);
    if (e == ERR_NOT_FOUND && make) {
        struct key_step s = {a, mailbox};
        e = change_run_step(a, make_step, &s);
        if (e == ERR_OK || e == ERR_BUSY) /* BUSY: another's is there */
            e = read_key(a, mailbox, key);
    }
    TRY(e);
    uint8_t *done =
        HMAC(EVP_sha256(), key, sizeof key, (const uint8_t *)rump.data, rump.len, out, &len);
    assert(done && len == URLKEY_BYTES);
    return ERR_OK;
}

enum err urlkey_reset(struct account *a, uint32_t mailbox)
{
    struct key_step s = {a, mailbox};
    return change_run_step(a, reset_step, &s);
}
