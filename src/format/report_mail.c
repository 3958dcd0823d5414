/* SPDX-License-Identifier: Apache-2.0 */
#include "format/report_mail.h"

#include "base/utf8.h"
#include "format/addr.h"
#include "format/cte.h"
#include "format/date.h"

void report_mail_filename(struct buf *out, const struct report_mail *m)
{
    buf_addf(out, "%.*s!%.*s!%lld!%lld!%.*s.%s.gz", STR_ARG(m->submitter), STR_ARG(m->domain),
             (long long)m->begin_s, (long long)m->end_s, STR_ARG(m->id), m->tls ? "json" : "xml");
}

static void add_address(struct buf *out, str address)
{
    for (size_t i = 0; i < address.len; i++) {
        uint8_t c = (uint8_t)address.data[i];
        buf_add_char(out, (char)(c <= 0x20 || c == 0x7f ? '?' : c));
    }
}

static void add_header(struct buf *out, const struct report_mail *m)
{
    str local, domain;
    size_t at = str_rfind_char(m->from, '@');
    local = str_head(m->from, at);
    domain = str_skip(m->from, at == STR_NPOS ? at : at + 1);
    buf_add_c(out, "From: ");
    addr_render_mailbox(out, m->organization, &(struct addr){local, domain});
    buf_add_c(out, "\r\nTo: ");
    for (size_t i = 0; i < m->nto; i++) {
        buf_add_c(out, i ? ",\r\n\t<" : "<");
        add_address(out, m->to[i]);
        buf_add_char(out, '>');
    }
    buf_addf(
        out,
        "\r\nSubject: Report Domain: %.*s\r\n\tSubmitter: %.*s\r\n\tReport-ID: <%.*s>\r\nDate: ",
        STR_ARG(m->domain), STR_ARG(m->submitter), STR_ARG(m->id));
    date_render(out, m->now_s, 0);
    buf_addf(out, "\r\nMessage-ID: <%.*s@%.*s>\r\nAuto-Submitted: auto-generated\r\n",
             STR_ARG(m->id), STR_ARG(m->submitter));
    if (m->tls)
        buf_addf(out, "TLS-Report-Domain: %.*s\r\nTLS-Report-Submitter: %.*s\r\n",
                 STR_ARG(m->domain), STR_ARG(m->submitter));
    buf_addf(out, "MIME-Version: 1.0\r\nContent-Type: %s;\r\n\tboundary=\"%.*s\"\r\n\r\n",
             m->tls ? "multipart/report; report-type=tlsrpt" : "multipart/mixed",
             STR_ARG(m->boundary));
}

static void add_boundary(struct buf *out, const struct report_mail *m, const char *end)
{
    buf_addf(out, "--%.*s%s\r\n", STR_ARG(m->boundary), end);
}

void report_mail_render(struct buf *out, const struct report_mail *m)
{
    struct cte_encoder e;
    BUF_AUTO struct buf name = BUF_INIT(1024);
    report_mail_filename(&name, m);
    add_header(out, m);
    add_boundary(out, m, "");
    buf_addf(out,
             "Content-Type: text/plain; charset=us-ascii\r\n\r\n"
             "This is an aggregate %s report from %.*s\r\nabout %.*s.\r\n\r\n",
             m->tls ? "TLS" : "DMARC", STR_ARG(m->submitter), STR_ARG(m->domain));
    add_boundary(out, m, "");
    buf_addf(out,
             "Content-Type: %s;\r\n\tname=\"%.*s\"\r\nContent-Transfer-Encoding: base64\r\n"
             "Content-Disposition: attachment;\r\n\tfilename=\"%.*s\"\r\n\r\n",
             m->tls ? "application/tlsrpt+gzip" : "application/gzip", STR_ARG(buf_str(&name)),
             STR_ARG(buf_str(&name)));
    cte_encoder_init(&e, CTE_BASE64);
    cte_encode(&e, m->packed, out);
    cte_encode_end(&e, out);
    if (out->len > 0 && out->data[out->len - 1] != '\n')
        buf_add_c(out, "\r\n");
    add_boundary(out, m, "--");
    out->failed |= !buf_ok(&name);
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 32);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool report_mailto(str uri, struct buf *out)
{
    str rest;
    if (!str_starts_nocase(uri, STR("mailto:")))
        return false;
    str_cut(str_skip(uri, 7), '?', &uri, &rest);
    for (size_t i = 0; i < uri.len; i++) {
        if (uri.data[i] != '%') {
            buf_add_char(out, uri.data[i]);
            continue;
        }
        if (i + 2 >= uri.len || hex(uri.data[i + 1]) < 0 || hex(uri.data[i + 2]) < 0)
            return false;
        buf_add_char(out, (char)(hex(uri.data[i + 1]) * 16 + hex(uri.data[i + 2])));
        i += 2;
    }
    return out->len > 0 && buf_ok(out) && utf8_valid(buf_str(out));
}
