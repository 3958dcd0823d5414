/* SPDX-License-Identifier: Apache-2.0
 *
 * command: the rows of commands.def. A STORE or SERVER command is a function over `struct admin`;
 * the same function runs in the house (asked over the control socket) and over a store opened
 * alone.
 */
#ifndef APP_COMMAND_H
#define APP_COMMAND_H

#include "app/config.h"
#include "app/report.h"
#include "core/account.h"
#include "core/credentials.h"
#include "core/directory.h"

#define COMMAND_WORDS_MAX 1100
#define COMMAND_OPTIONS_MAX 16
#define COMMAND_OUT_MAX 268435456 /* bytes of an answer */

/* What commands work on. */
struct admin {
    struct directory *directory;
    struct accounts *accounts;   /* of the calling thread */
    struct house_process *house; /* NULL: no server runs, the store is opened alone */
    const struct config *config;
    const struct hasher *hasher; /* of passwords; of the calling thread */
    str data_dir;                /* the folder of the store; empty while it is being made */
};

enum command_where { COMMAND_LOCAL, COMMAND_STORE, COMMAND_SERVER };
struct command_option {
    str name, value;
};
struct command_run {
    struct admin *admin; /* NULL for LOCAL ones */
    const struct command_row *row;
    const str *args; /* without name, sub and options */
    size_t nargs;
    struct command_option options[COMMAND_OPTIONS_MAX];
    size_t noptions;
    bool json;
    str config_path, data_dir; /* LOCAL ones; empty when not given */
    str secret;                /* from --password or --password-stdin; empty: none */
    struct report report;
    struct buf error; /* one sentence; empty: made from the enum err */
    int exit_code;    /* of LOCAL commands that run long */
    struct arena arena;
};
typedef enum err command_fn(struct command_run *r) WAITS;

struct command_row {
    const char *name, *sub;
    command_fn *run;
    enum command_where where;
    const char *options, *arguments, *help;
};
extern const struct command_row command_rows[];
extern const size_t command_rows_count;

/* Removes all mail of an account that nobody can reach any more (cmd_account.c). */
enum err command_remove_mail(struct command_run *r, uint64_t account) WAITS MUST;

/* Why something with an address was not done; what: "account", "alias or group" (cmd_address.c).
 * Returns e. */
enum err command_address_fail(struct command_run *r, enum err e, const char *what,
                              str address) MUST;
/* The account of that address, in any case (cmd_account.c). */
enum err command_account_find(struct command_run *r, str address,
                              struct account_entry *out) WAITS MUST;
/* What an account has sent and may send, in the report (cmd_abuse.c). */
enum err command_send_status(struct command_run *r, uint64_t account) WAITS MUST;
/* Forgets that when the account goes. */
enum err command_send_forget(struct command_run *r, uint64_t account) WAITS MUST;

#define COMMAND(name, sub, fn, ...) command_fn fn;
#include "app/commands.def"
#undef COMMAND

/* Finds the row and splits words (after "posthouse") into arguments and options. The words must
 * live as long as r. ERR_INVALID: r->error says what is wrong. */
enum err command_parse(struct command_run *r, const str *words, size_t n) MUST;
/* Runs it and renders what it said; gives the exit status: 0, 1 failed, 2 wrong usage, 75 try
 * later. */
int command_execute(struct command_run *r, struct buf *out, struct buf *errors) WAITS;
void command_usage(const struct command_row *row, struct buf *out);
int command_exit_code(enum err e);

/* NULL: not given. */
const str *command_option(const struct command_run *r, const char *name);
/* Sets the sentence and gives e. */
enum err command_fail(struct command_run *r, enum err e, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* A number from 1 to max; *n stays when it is not given. */
enum err command_count_option(struct command_run *r, const char *name, uint64_t max,
                              uint64_t *n) MUST;
/* --quota and --quota-messages over what is there. */
enum err command_quota_options(struct command_run *r, uint64_t *bytes, uint64_t *messages) MUST;

#endif
