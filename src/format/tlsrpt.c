/* SPDX-License-Identifier: Apache-2.0 */
#include "format/tlsrpt.h"

#include "format/tags.h"

enum err tlsrpt_parse(struct arena *a, str txt, struct tlsrpt_record *out)
{
    struct tag_list tags;
    str value;
    *out = (struct tlsrpt_record){0};
    if (!str_starts(txt, STR("v=TLSRPTv1")))
        return ERR_NOT_FOUND;
    if (tag_list_parse(txt, &tags) != ERR_OK || !tag_get(&tags, "v", &value) ||
        !str_eq(value, STR("TLSRPTv1")) || !tag_get(&tags, "rua", &value))
        return ERR_SYNTAX;
    out->rua = ARENA_ARRAY(a, str, DMARC_URIS_MAX);
    if (!out->rua)
        return ERR_NOMEM;
    bool more;
    do {
        str uri;
        more = str_cut(value, ',', &uri, &value);
        uri = str_trim(uri);
        bool known =
            str_starts_nocase(uri, STR("mailto:")) || str_starts_nocase(uri, STR("https://"));
        for (size_t i = 0; i < uri.len; i++)
            known &= uri.data[i] > 0x20 && uri.data[i] < 0x7f;
        if (known && out->count < DMARC_URIS_MAX)
            out->rua[out->count++] = uri;
    } while (more);
    return out->count ? ERR_OK : ERR_SYNTAX;
}
