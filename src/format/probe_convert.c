/* SPDX-License-Identifier: Apache-2.0
 *
 * Converts files for tests/run_convert: probe_convert 7bit|8bit < paths, one a line. For each it
 * writes PATH.out, and to standard output "ok" or "refused why".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/convert.h"
#include "format/limits.h"

static enum err convert(str message, enum convert_to to, FILE *out, const char **refused)
{
    struct convert c;
    ARENA_AUTO struct arena a = ARENA_INIT(2 * (size_t)MIME_ARENA_MAX);
    BUF_AUTO struct buf piece = BUF_INIT(CONVERT_PIECE_MAX);
    TRY(convert_plan(&a, message, to, &c, refused));
    while (convert_next(&c, &piece)) {
        if (!buf_ok(&piece))
            return ERR_LIMIT;
        fwrite(piece.data, 1, piece.len, out);
        buf_reset(&piece);
    }
    return ERR_OK;
}

static bool read_file(const char *path, struct buf *out)
{
    FILE *f = fopen(path, "rb");
    size_t got;
    char chunk[65536];
    if (!f)
        return false;
    while ((got = fread(chunk, 1, sizeof(chunk), f)) > 0)
        buf_add(out, str_of(chunk, got));
    fclose(f);
    return buf_ok(out);
}

int main(int argc, char **argv)
{
    char path[4096], out_path[4104];
    enum convert_to to = argc > 1 && strcmp(argv[1], "8bit") == 0 ? CONVERT_8BIT : CONVERT_7BIT;
    while (fgets(path, sizeof(path), stdin)) {
        BUF_AUTO struct buf message = BUF_INIT(1u << 28);
        const char *refused = NULL;
        path[strcspn(path, "\n")] = 0;
        snprintf(out_path, sizeof(out_path), "%s.out", path);
        FILE *out = fopen(out_path, "wb");
        if (!out || !read_file(path, &message))
            return 1;
        enum err e = convert(buf_str(&message), to, out, &refused);
        if (fclose(out) != 0)
            return 1;
        printf("%s %s\n", e == ERR_OK ? "ok" : "refused", refused ? refused : err_text(e));
    }
    return 0;
}
