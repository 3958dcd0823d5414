/* SPDX-License-Identifier: Apache-2.0 */
#include "format/dsn.h"

#include <assert.h>

#include "base/num.h"
#include "base/utf8.h"
#include "format/date.h"

static const char *const action_names[] = {"failed", "delayed", "delivered", "relayed", "expanded"};

/* One line of text: controls become spaces, what is not UTF-8 '?'. At most max bytes. */
static void add_line_text(struct buf *out, str s, size_t max)
{
    s = str_head(s, max);
    while (s.len) {
        uint32_t cp;
        str before = s;
        bool valid = utf8_take(&s, &cp);
        if (!valid)
            buf_add_char(out, '?');
        else if (cp < 0x20 || cp == 0x7f)
            buf_add_char(out, ' ');
        else
            buf_add(out, str_head(before, before.len - s.len));
    }
}

static void add_field(struct buf *out, const char *name, str value)
{
    if (!value.len)
        return;
    buf_addf(out, "%s: ", name);
    add_line_text(out, value, 900);
    buf_add_c(out, "\r\n");
}

static void add_date_field(struct buf *out, const char *name, int64_t seconds, int zone_minutes)
{
    if (!seconds)
        return;
    buf_addf(out, "%s: ", name);
    date_render(out, seconds, zone_minutes);
    buf_add_c(out, "\r\n");
}

static bool any_utf8(const struct dsn *d)
{
    bool ascii = utf8_is_ascii(d->to) && utf8_is_ascii(d->from);
    for (size_t i = 0; i < d->count; i++)
        ascii &= utf8_is_ascii(d->recipients[i].address) && utf8_is_ascii(d->recipients[i].orcpt);
    return !ascii;
}

static const char *subject_of(const struct dsn *d)
{
    bool seen[ARRAY_LEN(action_names)] = {false};
    for (size_t i = 0; i < d->count; i++)
        seen[d->recipients[i].action] = true;
    if (seen[DSN_FAILED])
        return "Your message could not be delivered";
    if (seen[DSN_DELAYED])
        return "Your message is delayed";
    return seen[DSN_RELAYED] ? "Your message was passed on" : "Your message was delivered";
}

static void add_top(struct buf *out, const struct dsn *d)
{
    buf_add_c(out, "From: Mail delivery <");
    add_line_text(out, d->from, 320);
    buf_add_c(out, ">\r\nTo: <");
    add_line_text(out, d->to, 320);
    buf_addf(out, ">\r\nSubject: %s\r\nDate: ", subject_of(d));
    date_render(out, d->now_s, d->zone_minutes);
    buf_add_c(out, "\r\nMessage-ID: <");
    add_line_text(out, d->message_id, 500);
    /* RFC 3834 5: so that no responder answers */
    buf_addf(out,
             ">\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
             "Content-Type: multipart/report; report-type=delivery-status;\r\n"
             "\tboundary=\"%.*s\"\r\n\r\n"
             "This is a delivery report in the format of RFC 3464.\r\n",
             STR_ARG(d->boundary));
}

static void add_boundary(struct buf *out, const struct dsn *d, bool last)
{
    buf_addf(out, "\r\n--%.*s%s\r\n", STR_ARG(d->boundary), last ? "--" : "");
}

static void add_indented(struct buf *out, str text)
{
    bool more;
    do {
        str line;
        more = str_cut(text, '\n', &line, &text);
        buf_add_c(out, "    ");
        add_line_text(out, line, 900);
        buf_add_c(out, "\r\n");
    } while (more);
}

static const char *sentence_of(enum dsn_action action)
{
    switch (action) {
    case DSN_FAILED:
        return "could not be delivered to";
    case DSN_DELAYED:
        return "has not been delivered yet, and we keep trying, to";
    case DSN_DELIVERED:
        return "was delivered to";
    case DSN_RELAYED:
        return "was passed on, to a system that sends no reports, for";
    case DSN_EXPANDED:
        return "was passed on to the members of";
    }
    return "";
}

static void add_person_part(struct buf *out, const struct dsn *d)
{
    add_boundary(out, d, false);
    buf_add_c(out, "Content-Type: text/plain; charset=utf-8\r\n"
                   "Content-Transfer-Encoding: 8bit\r\n"
                   "Content-Description: Notification\r\n\r\n"
                   "This is the mail system at ");
    add_line_text(out, d->reporting_mta, 255);
    buf_add_c(out, ".\r\n");
    for (size_t i = 0; i < d->count; i++) {
        const struct dsn_recipient *r = &d->recipients[i];
        buf_addf(out, "\r\nYour message %s\r\n\r\n    ", sentence_of(r->action));
        add_line_text(out, r->address, 900);
        buf_add_c(out, "\r\n");
        if (r->explanation.len) {
            buf_add_c(out, "\r\n");
            add_line_text(out, r->explanation, 900);
            buf_add_c(out, "\r\n");
        }
        if (r->diagnostic.len) {
            buf_add_c(out, "\r\nThe answer ");
            if (r->remote_mta.len) {
                buf_add_c(out, "of ");
                add_line_text(out, r->remote_mta, 255);
                buf_add_char(out, ' ');
            }
            buf_add_c(out, "was:\r\n\r\n");
            add_indented(out, r->diagnostic);
        }
        if (r->action == DSN_DELAYED && r->retry_until_s) {
            buf_add_c(out, "\r\nWe try until ");
            date_render(out, r->retry_until_s, d->zone_minutes);
            buf_add_c(out, ". You need not send it again.\r\n");
        }
    }
}

/* Diagnostic-Code on folded lines, each a continuation. */
static void add_diagnostic(struct buf *out, str text)
{
    const char *lead = "Diagnostic-Code: smtp; ";
    bool more;
    if (!text.len)
        return;
    do {
        str line;
        more = str_cut(text, '\n', &line, &text);
        buf_add_c(out, lead);
        add_line_text(out, line, 900);
        buf_add_c(out, "\r\n");
        lead = "    ";
        while (more && text.len && text.data[0] == '\n') /* an empty line would end the group */
            text = str_skip(text, 1);
    } while (more && text.len);
}

static void add_orcpt(struct buf *out, const struct dsn_recipient *r)
{
    if (!r->orcpt.len)
        return;
    buf_add_c(out, "Original-Recipient: ");
    add_line_text(out, r->orcpt_type.len ? r->orcpt_type : STR("rfc822"), 40);
    buf_add_c(out, "; ");
    add_line_text(out, r->orcpt, 900);
    buf_add_c(out, "\r\n");
}

static void add_recipient(struct buf *out, const struct dsn *d, const struct dsn_recipient *r)
{
    buf_add_c(out, "\r\n");
    add_orcpt(out, r);
    buf_addf(out, "Final-Recipient: %s; ", utf8_is_ascii(r->address) ? "rfc822" : "utf-8");
    add_line_text(out, r->address, 900);
    buf_addf(out, "\r\nAction: %s\r\n", action_names[r->action]);
    add_field(out, "Status", r->status);
    if (r->remote_mta.len) {
        buf_add_c(out, "Remote-MTA: dns; ");
        add_line_text(out, r->remote_mta, 255);
        buf_add_c(out, "\r\n");
    }
    add_diagnostic(out, r->diagnostic);
    add_date_field(out, "Last-Attempt-Date", r->last_attempt_s, d->zone_minutes);
    add_date_field(out, "Will-Retry-Until", r->retry_until_s, d->zone_minutes);
}

static void add_status_part(struct buf *out, const struct dsn *d, bool utf8)
{
    add_boundary(out, d, false);
    buf_addf(out, "Content-Type: message/%s\r\n%sContent-Description: Delivery report\r\n\r\n",
             utf8 ? "global-delivery-status" : "delivery-status",
             utf8 ? "Content-Transfer-Encoding: 8bit\r\n" : "");
    add_field(out, "Original-Envelope-Id", d->envid);
    buf_add_c(out, "Reporting-MTA: dns; ");
    add_line_text(out, d->reporting_mta, 255);
    buf_add_c(out, "\r\n");
    add_date_field(out, "Arrival-Date", d->arrival_s, d->zone_minutes);
    add_field(out, "X-Queue-Id", d->queue_id);
    for (size_t i = 0; i < d->count; i++)
        add_recipient(out, d, &d->recipients[i]);
}

static void add_original(struct buf *out, const struct dsn *d, bool utf8)
{
    const char *type = d->full ? utf8 ? "message/global" : "message/rfc822"
                       : utf8  ? "message/global-headers"
                               : "text/rfc822-headers";
    add_boundary(out, d, false);
    buf_addf(out, "Content-Type: %s\r\n%sContent-Description: %s\r\n\r\n", type,
             d->original_8bit || utf8 ? "Content-Transfer-Encoding: 8bit\r\n" : "",
             d->full ? "Undelivered message" : "Header of the message");
    buf_add(out, d->original);
}

void dsn_render(struct buf *out, const struct dsn *d)
{
    bool utf8 = any_utf8(d);
    assert(d->count && d->boundary.len);
    add_top(out, d);
    add_person_part(out, d);
    add_status_part(out, d, utf8);
    add_original(out, d, utf8);
    add_boundary(out, d, true);
}
