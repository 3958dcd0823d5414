/* SPDX-License-Identifier: Apache-2.0 */
#include "os/ports.h"

#include "base/num.h"
#include "os/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TABLE_MAX 16777216

/* "sl local rem st tx rx tr tm retr uid timeout inode …"; local is ADDRESS:PORT in hex, 0A is
 * LISTEN. */
static uint64_t parse_line(str line, uint16_t port)
{
    str word[10], address, hex;
    char wanted[8];
    uint64_t inode = 0;
    for (size_t i = 0; i < 10; i++) {
        if (!str_next_word(&line, &word[i]))
            return 0;
    }
    snprintf(wanted, sizeof(wanted), "%04X", port);
    if (!str_cut(word[1], ':', &address, &hex) || !str_eq(hex, str_c(wanted)) ||
        !str_eq(word[3], STR("0A")) || !num_parse_u64(word[9], UINT64_MAX, &inode))
        return 0;
    return inode;
}

uint64_t ports_parse(str table, uint16_t port)
{
    str line;
    while (!str_empty(table)) {
        (void)str_cut(table, '\n', &line, &table);
        uint64_t inode = parse_line(line, port);
        if (inode)
            return inode;
    }
    return 0;
}

static bool holds(const char *pid, const char *wanted)
{
    char path[300], target[64];
    snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
    DIR *d = opendir(path);
    bool found = false;
    for (struct dirent *e; d && !found && (e = readdir(d));) {
        ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1);
        if (n <= 0)
            continue;
        target[n] = 0;
        found = strcmp(target, wanted) == 0;
    }
    if (d)
        closedir(d);
    return found;
}

static void name_process(const char *pid, struct buf *who)
{
    char path[300];
    BUF_AUTO struct buf name = BUF_INIT(4096);
    snprintf(path, sizeof(path), "/proc/%.20s/comm", pid);
    if (file_read_whole(AT_FDCWD, str_c(path), &name) == ERR_OK)
        buf_addf(who, "%.*s (pid %.20s)", STR_ARG(str_trim(buf_str(&name))), pid);
}

static bool same_program(const char *pid)
{
    char path[300];
    struct stat theirs, own;
    snprintf(path, sizeof(path), "/proc/%.20s/exe", pid);
    return stat(path, &theirs) == 0 && stat("/proc/self/exe", &own) == 0 &&
           theirs.st_dev == own.st_dev && theirs.st_ino == own.st_ino;
}

enum err ports_listener(uint16_t port, struct buf *who, bool *same)
{
    static const char *const tables[] = {"/proc/net/tcp", "/proc/net/tcp6"};
    uint64_t inode = 0;
    char wanted[64];
    *same = false;
    for (size_t i = 0; i < 2 && inode == 0; i++) {
        BUF_AUTO struct buf table = BUF_INIT(TABLE_MAX);
        if (file_read_whole(AT_FDCWD, str_c(tables[i]), &table) == ERR_OK)
            inode = ports_parse(buf_str(&table), port);
    }
    if (inode == 0)
        return ERR_NOT_FOUND;
    snprintf(wanted, sizeof(wanted), "socket:[%llu]", (unsigned long long)inode);
    DIR *d = opendir("/proc");
    for (struct dirent *e; d && who->len == 0 && (e = readdir(d));) {
        if (e->d_name[0] < '1' || e->d_name[0] > '9' || !holds(e->d_name, wanted))
            continue;
        name_process(e->d_name, who);
        *same = same_program(e->d_name);
    }
    if (d)
        closedir(d);
    return ERR_OK;
}

enum err ports_file_mode(str path, unsigned *mode)
{
    char name[4096];
    struct stat st;
    if (path.len >= sizeof(name))
        return ERR_NOT_FOUND;
    snprintf(name, sizeof(name), "%.*s", STR_ARG(path));
    if (stat(name, &st) != 0)
        return ERR_NOT_FOUND;
    *mode = st.st_mode & 07777;
    return ERR_OK;
}
