/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/pop3/common.h"

void pop3_capabilities(struct buf *out, bool stls, str sasl)
{
    buf_add(out, STR("+OK Capabilities follow\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\n"
                     "PIPELINING\r\nEXPIRE NEVER\r\nLOGIN-DELAY 0\r\nUTF8 USER\r\nLANG\r\n"));
    if (stls)
        buf_add(out, STR("STLS\r\n"));
    if (!str_empty(sasl))
        buf_addf(out, "USER\r\nSASL%.*s\r\n", STR_ARG(sasl));
    buf_add(out, STR("IMPLEMENTATION Posthouse\r\n.\r\n"));
}

void pop3_split(str line, str *verb, str *args)
{
    str_cut(line, ' ', verb, args);
    *args = str_trim(*args);
}

void pop3_lang(struct buf *out, str args)
{
    if (str_empty(args))
        buf_add(out, STR("+OK Languages follow\r\nen English\r\n.\r\n"));
    else if (str_eq_nocase(args, STR("en")) || str_eq_nocase(args, STR("i-default")) ||
             str_eq(args, STR("*")))
        buf_add(out, STR("+OK en Language is English\r\n"));
    else
        buf_add(out, STR("-ERR Only English is spoken here\r\n"));
}
