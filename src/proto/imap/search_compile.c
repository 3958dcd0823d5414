/* SPDX-License-Identifier: Apache-2.0
 *
 * From the tree of the syntax to keys that hold what they are compared with.
 */
#include "base/num.h"
#include "format/charset.h"
#include "os/clock.h"
#include "proto/imap/search_key.h"

#define TERM_BYTES_MAX (4 * SEARCH_NEEDLE_MAX)

struct search_place search_place_selected(struct imap *x)
{
    struct mailbox_session *s = &x->selected->view;
    return (struct search_place){x->selected->account, s->view, s->exists_uid, s};
}

void search_program_free(struct search_program *p)
{
    for (size_t i = 0; p && i < p->nsets; i++)
        set_free(p->sets[i]);
}

static void refresh(struct search_key *k, const struct keyword_table *table)
{
    for (; k; k = k->next) {
        if (k->kind == SEARCH_KEYWORD || k->kind == SEARCH_UNKEYWORD) {
            int bit = keyword_bit(table, k->name);
            k->bits = bit >= 0 ? 1ull << bit : 0;
        }
        refresh(k->first, table);
    }
}

void search_program_refresh(struct search_program *p, const struct mailbox_view *v)
{
    const struct mailbox *m = view_mailbox(v);
    if (m)
        refresh(p->root, m->keywords);
}

struct compile {
    struct imap *x;
    const struct imap_search *args;
    const struct search_place *place;
    struct search_program *p;
    bool fuzzy;
};

/* Text as the client wrote it, in its charset, to folded UTF-8. */
static enum err fold_text(struct compile *c, str text, str *out)
{
    BUF_AUTO struct buf utf8 = BUF_INIT(TERM_BYTES_MAX);
    BUF_AUTO struct buf folded = BUF_INIT(SEARCH_NEEDLE_MAX);
    str charset = str_empty(c->args->charset) ? STR("UTF-8") : c->args->charset;
    if (!charset_to_utf8(charset, text, &utf8))
        return ERR_BAD_CHARSET;
    search_fold_all(buf_str(&utf8), &folded);
    if (!buf_ok(&utf8) || !buf_ok(&folded))
        return ERR_LIMIT;
    return arena_dup(c->p->arena, buf_str(&folded), out) ? ERR_OK : ERR_LIMIT;
}

static enum err compile_term(struct compile *c, const struct search_node *n,
                             enum search_field field, struct search_key *key)
{
    struct search_program *p = c->p;
    if (p->nterms == SEARCH_TERMS_MAX)
        return ERR_LIMIT;
    struct search_term *t = &p->terms[p->nterms];
    *t = (struct search_term){.field = field, .fuzzy = c->fuzzy};
    TRY(fold_text(c, n->text, &t->text));
    if (field == SEARCH_IN_HEADER)
        TRY(fold_text(c, n->field, &t->name));
    key->term = p->nterms++;
    key->kind = SEARCH_TEXT;
    p->needs_text = true;
    p->fuzzy |= c->fuzzy;
    return ERR_OK;
}

static struct set *new_set(struct compile *c)
{
    struct search_program *p = c->p;
    if (p->nsets == ARRAY_LEN(p->sets))
        return NULL;
    struct set *s = ARENA_NEW(p->arena, struct set);
    if (s)
        p->sets[p->nsets++] = s;
    return s;
}

/* Sequence numbers mean UIDs from here on; those beyond EXISTS match nothing. */
static enum err numbers_to_uids(struct compile *c, const struct imap_seq *seq, struct set *uids)
{
    struct mailbox_session *s = c->place->session;
    SET_AUTO struct set numbers = {0};
    uint32_t exists = s ? mailbox_session_exists(s) : 0;
    if (!s)
        return ERR_SYNTAX; /* RFC 7377 2.2: they have no meaning elsewhere */
    TRY(imap_seq_resolve(seq, exists, &numbers));
    if (exists < UINT32_MAX)
        TRY(set_remove_range(&numbers, exists + 1, UINT32_MAX));
    return mailbox_session_uids(s, &numbers, uids);
}

static enum err compile_set(struct compile *c, const struct search_node *n, struct search_key *key)
{
    key->uids = new_set(c);
    if (!key->uids)
        return ERR_LIMIT;
    if (n->seq.saved) {
        const struct set *saved = imap_search_saved(c->x);
        if (!c->place->session)
            return ERR_SYNTAX;
        return saved ? set_union(key->uids, saved) : ERR_OK;
    }
    if (n->kind == SEARCH_SEQ)
        return numbers_to_uids(c, &n->seq, key->uids);
    struct mailbox_view *v = c->place->view;
    uint32_t star = MIN(view_last_uid(v), c->place->last_uid);
    return imap_seq_resolve(&n->seq, star, key->uids);
}

static void compile_keyword(struct compile *c, const struct search_node *n, struct search_key *key)
{
    const struct mailbox *m = view_mailbox(c->place->view);
    int bit = m ? keyword_bit(m->keywords, n->text) : -1;
    key->bits = bit >= 0 ? 1ull << bit : 0; /* a new one later: CONTEXT asks again by name */
    key->name = n->text;
}

/* "M0123456789abcdef" (RFC 8474); another shape is nobody's id. */
static uint64_t parse_id(str id, char kind)
{
    uint64_t n = 0;
    if (id.len != 17 || id.data[0] != kind)
        return 0;
    for (size_t i = 1; i < id.len; i++) {
        char ch = id.data[i];
        bool digit = ch >= '0' && ch <= '9';
        if (!digit && !(ch >= 'a' && ch <= 'f'))
            return 0;
        n = n << 4 | (uint64_t)(digit ? ch - '0' : ch - 'a' + 10);
    }
    return n;
}

static enum err compile_node(struct compile *c, const struct search_node *n,
                             struct search_key **out);

static enum err compile_children(struct compile *c, const struct search_node *n,
                                 struct search_key *key)
{
    struct search_key **link = &key->first;
    for (const struct search_node *child = n->first; child; child = child->next) {
        TRY(compile_node(c, child, link));
        link = &(*link)->next;
    }
    return ERR_OK;
}

static enum err compile_fuzzy(struct compile *c, const struct search_node *n,
                              struct search_key *key)
{
    bool before = c->fuzzy;
    c->fuzzy = true;
    key->kind = SEARCH_AND;
    enum err e = compile_children(c, n, key);
    c->fuzzy = before;
    return e;
}

static enum err compile_leaf(struct compile *c, const struct search_node *n, struct search_key *key)
{
    switch (n->kind) {
    case SEARCH_SEQ:
    case SEARCH_UID:
        return compile_set(c, n, key);
    case SEARCH_SUBJECT:
        return compile_term(c, n, SEARCH_IN_SUBJECT, key);
    case SEARCH_FROM:
        return compile_term(c, n, SEARCH_IN_FROM, key);
    case SEARCH_TO:
        return compile_term(c, n, SEARCH_IN_TO, key);
    case SEARCH_CC:
        return compile_term(c, n, SEARCH_IN_CC, key);
    case SEARCH_BCC:
        return compile_term(c, n, SEARCH_IN_BCC, key);
    case SEARCH_BODY:
        return compile_term(c, n, SEARCH_IN_BODY, key);
    case SEARCH_TEXT:
        return compile_term(c, n, SEARCH_IN_TEXT, key);
    case SEARCH_HEADER:
        return compile_term(c, n, SEARCH_IN_HEADER, key);
    case SEARCH_KEYWORD:
    case SEARCH_UNKEYWORD:
        compile_keyword(c, n, key);
        return ERR_OK;
    case SEARCH_FLAG: /* nothing is ever \Recent: everything is OLD */
        key->never = n->flag & IMAP_FLAG_RECENT;
        key->flags = imap_flags_to(n->flag);
        return ERR_OK;
    case SEARCH_UNFLAG:
        key->flags = imap_flags_to(n->flag);
        return ERR_OK;
    case SEARCH_EMAILID:
        key->number = parse_id(n->text, 'M');
        return ERR_OK;
    case SEARCH_THREADID:
        key->number = parse_id(n->text, 'T');
        return ERR_OK;
    case SEARCH_SENTBEFORE:
    case SEARCH_SENTON:
    case SEARCH_SENTSINCE:
        c->p->needs_cold = true;
        return ERR_OK;
    default:
        return ERR_OK;
    }
}

static enum err compile_node(struct compile *c, const struct search_node *n,
                             struct search_key **out)
{
    struct search_key *key = ARENA_NEW(c->p->arena, struct search_key);
    if (!key)
        return ERR_LIMIT;
    *out = key;
    key->kind = n->kind;
    key->day = n->day;
    key->number = n->number;
    switch (n->kind) {
    case SEARCH_AND:
    case SEARCH_OR:
    case SEARCH_NOT:
        return compile_children(c, n, key);
    case SEARCH_FUZZY:
        return compile_fuzzy(c, n, key);
    default:
        return compile_leaf(c, n, key);
    }
}

enum err search_compile(struct imap *x, const struct imap_search *args,
                        const struct search_place *place, struct arena *arena,
                        struct search_program **out)
{
    struct search_program *p = ARENA_NEW(arena, struct search_program);
    *out = p;
    if (!p)
        return ERR_LIMIT;
    p->arena = arena;
    p->now = clock_wall_s();
    p->terms = ARENA_ARRAY(arena, struct search_term, SEARCH_TERMS_MAX);
    if (!p->terms)
        return ERR_LIMIT;
    if (!str_empty(args->charset) && !charset_find(args->charset))
        return ERR_BAD_CHARSET;
    struct compile c = {.x = x, .args = args, .place = place, .p = p};
    return compile_node(&c, args->root, &p->root);
}

void search_refuse(struct imap *x, const struct imap_search *args, enum err e)
{
    if (e == ERR_BAD_CHARSET) /* RFC 9051 7.1: with what would do */
        imap_no_code(x, "BADCHARSET (UTF-8 US-ASCII)", "Charset not supported");
    else if (e == ERR_SYNTAX)
        imap_bad_text(x, "Sequence numbers have no meaning in other mailboxes");
    else
        imap_no(x, e);
}
