/* SPDX-License-Identifier: Apache-2.0 */
#include "format/imap_search_syntax.h"

#include "base/num.h"

struct search_context {
    struct imap_cursor *c;
    struct imap_search *out;
    size_t keys;
};

/* What stands behind a key's name. */
enum key_shape {
    SHAPE_NONE,
    SHAPE_TEXT,    /* SP astring */
    SHAPE_ATOM,    /* SP flag-keyword */
    SHAPE_DAY,     /* SP date */
    SHAPE_NUMBER,  /* SP number64 */
    SHAPE_SECONDS, /* SP nz-number */
    SHAPE_SET,     /* SP sequence-set */
    SHAPE_HEADER,  /* SP astring SP astring */
    SHAPE_MODSEQ,  /* SP [entry SP type SP] number64 */
    SHAPE_ONE,     /* SP search-key */
    SHAPE_TWO,     /* SP search-key SP search-key */
};
static const struct key_row {
    str name;
    enum search_kind kind;
    enum key_shape shape;
    uint32_t flag;
} key_rows[] = {
    {STR_INIT("ALL"), SEARCH_ALL, SHAPE_NONE, 0},
    {STR_INIT("UID"), SEARCH_UID, SHAPE_SET, 0},
    {STR_INIT("UNSEEN"), SEARCH_UNFLAG, SHAPE_NONE, IMAP_FLAG_SEEN},
    {STR_INIT("SEEN"), SEARCH_FLAG, SHAPE_NONE, IMAP_FLAG_SEEN},
    {STR_INIT("ANSWERED"), SEARCH_FLAG, SHAPE_NONE, IMAP_FLAG_ANSWERED},
    {STR_INIT("UNANSWERED"), SEARCH_UNFLAG, SHAPE_NONE, IMAP_FLAG_ANSWERED},
    {STR_INIT("DELETED"), SEARCH_FLAG, SHAPE_NONE, IMAP_FLAG_DELETED},
    {STR_INIT("UNDELETED"), SEARCH_UNFLAG, SHAPE_NONE, IMAP_FLAG_DELETED},
    {STR_INIT("DRAFT"), SEARCH_FLAG, SHAPE_NONE, IMAP_FLAG_DRAFT},
    {STR_INIT("UNDRAFT"), SEARCH_UNFLAG, SHAPE_NONE, IMAP_FLAG_DRAFT},
    {STR_INIT("FLAGGED"), SEARCH_FLAG, SHAPE_NONE, IMAP_FLAG_FLAGGED},
    {STR_INIT("UNFLAGGED"), SEARCH_UNFLAG, SHAPE_NONE, IMAP_FLAG_FLAGGED},
    {STR_INIT("RECENT"), SEARCH_FLAG, SHAPE_NONE, IMAP_FLAG_RECENT},
    {STR_INIT("OLD"), SEARCH_UNFLAG, SHAPE_NONE, IMAP_FLAG_RECENT},
    {STR_INIT("NEW"), SEARCH_NEW, SHAPE_NONE, 0},
    {STR_INIT("KEYWORD"), SEARCH_KEYWORD, SHAPE_ATOM, 0},
    {STR_INIT("UNKEYWORD"), SEARCH_UNKEYWORD, SHAPE_ATOM, 0},
    {STR_INIT("BEFORE"), SEARCH_BEFORE, SHAPE_DAY, 0},
    {STR_INIT("ON"), SEARCH_ON, SHAPE_DAY, 0},
    {STR_INIT("SINCE"), SEARCH_SINCE, SHAPE_DAY, 0},
    {STR_INIT("SENTBEFORE"), SEARCH_SENTBEFORE, SHAPE_DAY, 0},
    {STR_INIT("SENTON"), SEARCH_SENTON, SHAPE_DAY, 0},
    {STR_INIT("SENTSINCE"), SEARCH_SENTSINCE, SHAPE_DAY, 0},
    {STR_INIT("SAVEDBEFORE"), SEARCH_SAVEDBEFORE, SHAPE_DAY, 0},
    {STR_INIT("SAVEDON"), SEARCH_SAVEDON, SHAPE_DAY, 0},
    {STR_INIT("SAVEDSINCE"), SEARCH_SAVEDSINCE, SHAPE_DAY, 0},
    {STR_INIT("SAVEDATESUPPORTED"), SEARCH_SAVEDATESUPPORTED, SHAPE_NONE, 0},
    {STR_INIT("LARGER"), SEARCH_LARGER, SHAPE_NUMBER, 0},
    {STR_INIT("SMALLER"), SEARCH_SMALLER, SHAPE_NUMBER, 0},
    {STR_INIT("YOUNGER"), SEARCH_YOUNGER, SHAPE_SECONDS, 0},
    {STR_INIT("OLDER"), SEARCH_OLDER, SHAPE_SECONDS, 0},
    {STR_INIT("FROM"), SEARCH_FROM, SHAPE_TEXT, 0},
    {STR_INIT("TO"), SEARCH_TO, SHAPE_TEXT, 0},
    {STR_INIT("CC"), SEARCH_CC, SHAPE_TEXT, 0},
    {STR_INIT("BCC"), SEARCH_BCC, SHAPE_TEXT, 0},
    {STR_INIT("SUBJECT"), SEARCH_SUBJECT, SHAPE_TEXT, 0},
    {STR_INIT("BODY"), SEARCH_BODY, SHAPE_TEXT, 0},
    {STR_INIT("TEXT"), SEARCH_TEXT, SHAPE_TEXT, 0},
    {STR_INIT("HEADER"), SEARCH_HEADER, SHAPE_HEADER, 0},
    {STR_INIT("MODSEQ"), SEARCH_MODSEQ, SHAPE_MODSEQ, 0},
    {STR_INIT("EMAILID"), SEARCH_EMAILID, SHAPE_TEXT, 0},
    {STR_INIT("THREADID"), SEARCH_THREADID, SHAPE_TEXT, 0},
    {STR_INIT("NOT"), SEARCH_NOT, SHAPE_ONE, 0},
    {STR_INIT("FUZZY"), SEARCH_FUZZY, SHAPE_ONE, 0},
    {STR_INIT("OR"), SEARCH_OR, SHAPE_TWO, 0},
};

static struct search_node *take_key(struct search_context *x, int depth);

static struct search_node *new_node(struct search_context *x, enum search_kind kind)
{
    if (!imap_ok(x->c))
        return NULL;
    if (++x->keys > SEARCH_KEYS_MAX) {
        imap_error_kind(x->c, ERR_LIMIT, "Too many search keys");
        return NULL;
    }
    struct search_node *node = ARENA_NEW(x->c->arena, struct search_node);
    if (!node)
        imap_error_kind(x->c, ERR_NOMEM, "Command too large");
    else
        node->kind = kind;
    return node;
}

/* RFC 7162 3.1.5: MODSEQ ["/flags/\\Draft" all] number */
static void take_modseq(struct search_context *x, struct search_node *node)
{
    struct imap_cursor *c = x->c;
    x->out->uses_modseq = true;
    if (imap_peek(c) == '"') {
        node->field = imap_string(c);
        imap_sp(c);
        node->text = imap_atom(c);
        imap_sp(c);
    }
    node->number = imap_number64(c);
}

static void take_key_value(struct search_context *x, struct search_node *node,
                           const struct key_row *row, int depth)
{
    struct imap_cursor *c = x->c;
    if (row->shape != SHAPE_NONE && !imap_sp(c))
        return;
    switch (row->shape) {
    case SHAPE_NONE:
        node->flag = row->flag;
        break;
    case SHAPE_TEXT:
        node->text = imap_astring(c);
        break;
    case SHAPE_ATOM:
        node->text = imap_atom(c);
        break;
    case SHAPE_DAY:
        node->day = imap_date(c);
        break;
    case SHAPE_NUMBER:
        node->number = imap_number64(c);
        break;
    case SHAPE_SECONDS:
        node->number = imap_nz_number(c);
        break;
    case SHAPE_SET:
        imap_seq_set(c, &node->seq);
        break;
    case SHAPE_HEADER:
        node->field = imap_astring(c);
        imap_sp(c);
        node->text = imap_astring(c);
        break;
    case SHAPE_MODSEQ:
        take_modseq(x, node);
        break;
    case SHAPE_ONE:
        node->first = take_key(x, depth + 1);
        break;
    case SHAPE_TWO:
        node->first = take_key(x, depth + 1);
        if (node->first && imap_sp(c))
            node->first->next = take_key(x, depth + 1);
        break;
    }
}

/* search-key *(SP search-key) */
static struct search_node *take_keys(struct search_context *x, int depth)
{
    struct search_node *all = new_node(x, SEARCH_AND);
    struct search_node **link = all ? &all->first : NULL;
    do {
        struct search_node *key = link ? take_key(x, depth + 1) : NULL;
        if (!key)
            return all;
        *link = key;
        link = &key->next;
    } while (imap_accept(x->c, ' '));
    return all;
}

static struct search_node *take_key(struct search_context *x, int depth)
{
    struct imap_cursor *c = x->c;
    if (depth > SEARCH_DEPTH_MAX) {
        imap_error_kind(c, ERR_LIMIT, "Search keys nested too deep");
        return NULL;
    }
    if (imap_accept(c, '(')) {
        struct search_node *keys = take_keys(x, depth);
        return imap_expect(c, ')') ? keys : NULL;
    }
    int next = imap_peek(c);
    if ((next >= '0' && next <= '9') || next == '*' || next == '$') {
        struct search_node *node = new_node(x, SEARCH_SEQ);
        if (!node || !imap_seq_set(c, &node->seq))
            return NULL;
        x->out->uses_numbers |= !node->seq.saved;
        return node;
    }
    for (size_t i = 0; i < ARRAY_LEN(key_rows); i++) {
        if (!imap_accept_word(c, key_rows[i].name))
            continue;
        struct search_node *node = new_node(x, key_rows[i].kind);
        x->out->uses_fuzzy |= key_rows[i].kind == SEARCH_FUZZY;
        if (node)
            take_key_value(x, node, &key_rows[i], depth);
        return imap_ok(c) ? node : NULL;
    }
    imap_error(c, "Unknown search key");
    return NULL;
}

static bool take_return(struct imap_cursor *c, struct imap_search *out)
{
    static const struct {
        str name;
        uint32_t bit;
    } rows[] = {
        {STR_INIT("MIN"), SEARCH_RETURN_MIN},
        {STR_INIT("MAX"), SEARCH_RETURN_MAX},
        {STR_INIT("ALL"), SEARCH_RETURN_ALL},
        {STR_INIT("COUNT"), SEARCH_RETURN_COUNT},
        {STR_INIT("SAVE"), SEARCH_RETURN_SAVE},
        {STR_INIT("PARTIAL"), SEARCH_RETURN_PARTIAL},
        {STR_INIT("UPDATE"), SEARCH_RETURN_UPDATE},
        {STR_INIT("CONTEXT"), SEARCH_RETURN_CONTEXT},
        {STR_INIT("RELEVANCY"), SEARCH_RETURN_RELEVANCY},
    };
    out->extended = true;
    if (!imap_sp(c) || !imap_expect(c, '('))
        return false;
    while (imap_peek(c) != ')') {
        size_t i = 0;
        while (i < ARRAY_LEN(rows) && !imap_accept_word(c, rows[i].name))
            i++;
        if (i == ARRAY_LEN(rows))
            return imap_error(c, "Unknown RETURN option");
        /* RFC 9394 3.1: PARTIAL once, and not with ALL. */
        if (rows[i].bit & out->results & SEARCH_RETURN_PARTIAL)
            return imap_error(c, "PARTIAL is given twice");
        out->results |= rows[i].bit;
        if (rows[i].bit == SEARCH_RETURN_PARTIAL && imap_sp(c))
            imap_take_partial(c, &out->partial);
        if (!imap_accept(c, ' '))
            break;
    }
    if (!out->results)
        out->results = SEARCH_RETURN_ALL; /* RFC 4731 3.1 */
    if ((out->results & SEARCH_RETURN_ALL) && (out->results & SEARCH_RETURN_PARTIAL))
        return imap_error(c, "ALL and PARTIAL exclude one another");
    return imap_expect(c, ')');
}

static bool wants_relevancy(const struct imap_search *s)
{
    for (size_t i = 0; i < s->nsort; i++)
        if (s->sort[i].key == SORT_RELEVANCY)
            return true;
    return s->results & SEARCH_RETURN_RELEVANCY;
}

static bool take_program(struct imap_cursor *c, struct imap_search *out)
{
    struct search_context x = {.c = c, .out = out};
    out->root = take_keys(&x, 0);
    if (imap_end(c) && wants_relevancy(out) && !out->uses_fuzzy)
        return imap_error(c, "RELEVANCY needs a FUZZY key");
    return imap_ok(c);
}

static bool take_optional_return(struct imap_cursor *c, struct imap_search *out)
{
    if (!imap_accept_word(c, STR("RETURN")))
        return imap_ok(c);
    return take_return(c, out) && imap_sp(c);
}

static bool take_search_rest(struct imap_cursor *c, struct imap_search *out)
{
    if (!take_optional_return(c, out))
        return false;
    if (imap_accept_word(c, STR("CHARSET"))) {
        imap_sp(c);
        out->charset = imap_astring(c);
        imap_sp(c);
    }
    return take_program(c, out);
}

bool imap_take_search(struct imap_cursor *c, struct imap_search *out)
{
    *out = (struct imap_search){0};
    return take_search_rest(c, out);
}

bool imap_take_esearch(struct imap_cursor *c, struct imap_search *out)
{
    size_t cap = 0;
    *out = (struct imap_search){0};
    if (imap_accept_word(c, STR("IN"))) {
        if (!imap_sp(c) || !imap_expect(c, '('))
            return false;
        do {
            struct imap_filter *sources =
                imap_grow(c, out->sources, out->nsources, &cap, sizeof(*sources), 1000);
            if (!sources)
                return false;
            out->sources = sources;
            if (!imap_take_filter(c, &sources[out->nsources++]))
                return false;
        } while (imap_accept(c, ' '));
        if (!imap_expect(c, ')') || !imap_sp(c))
            return false;
    }
    if (!take_search_rest(c, out))
        return false;
    out->extended = true;
    out->results = out->results ? out->results : SEARCH_RETURN_ALL;
    return true;
}

static bool take_criterion(struct imap_cursor *c, struct sort_criterion *out)
{
    static const struct {
        str name;
        enum sort_key key;
    } rows[] = {
        {STR_INIT("ARRIVAL"), SORT_ARRIVAL},
        {STR_INIT("CC"), SORT_CC},
        {STR_INIT("DATE"), SORT_DATE},
        {STR_INIT("FROM"), SORT_FROM},
        {STR_INIT("SIZE"), SORT_SIZE},
        {STR_INIT("SUBJECT"), SORT_SUBJECT},
        {STR_INIT("TO"), SORT_TO},
        {STR_INIT("DISPLAYFROM"), SORT_DISPLAYFROM},
        {STR_INIT("DISPLAYTO"), SORT_DISPLAYTO},
        {STR_INIT("RELEVANCY"), SORT_RELEVANCY},
    };
    *out = (struct sort_criterion){0};
    if (imap_accept_word(c, STR("REVERSE"))) {
        out->reverse = true;
        imap_sp(c);
    }
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (imap_accept_word(c, rows[i].name)) {
            out->key = rows[i].key;
            return imap_ok(c);
        }
    }
    return imap_error(c, "Unknown sort criterion");
}

/* SORT and THREAD: the charset is not optional (RFC 5256 3). */
static bool take_charset_and_program(struct imap_cursor *c, struct imap_search *out)
{
    if (!imap_sp(c))
        return false;
    out->charset = imap_astring(c);
    return imap_sp(c) && take_program(c, out);
}

bool imap_take_sort(struct imap_cursor *c, struct imap_search *out)
{
    size_t cap = 0;
    *out = (struct imap_search){0};
    if (!take_optional_return(c, out) || !imap_expect(c, '('))
        return false;
    do {
        struct sort_criterion *sort = imap_grow(c, out->sort, out->nsort, &cap, sizeof(*sort), 100);
        if (!sort)
            return false;
        out->sort = sort;
        if (!take_criterion(c, &sort[out->nsort++]))
            return false;
    } while (imap_accept(c, ' '));
    return imap_expect(c, ')') && take_charset_and_program(c, out);
}

bool imap_take_thread(struct imap_cursor *c, struct imap_search *out)
{
    *out = (struct imap_search){0};
    if (imap_accept_word(c, STR("ORDEREDSUBJECT")))
        out->thread = THREAD_ORDEREDSUBJECT;
    else if (imap_accept_word(c, STR("REFERENCES")))
        out->thread = THREAD_REFERENCES;
    else if (imap_accept_word(c, STR("REFS")))
        out->thread = THREAD_REFS;
    else
        return imap_error(c, "Unknown threading algorithm");
    return take_charset_and_program(c, out);
}
