/* SPDX-License-Identifier: Apache-2.0
 *
 * account_private: the insides of account, mailbox, view and message, shared by their .c files
 * only.
 */
#ifndef CORE_ACCOUNT_PRIVATE_H
#define CORE_ACCOUNT_PRIVATE_H

#include "base/map.h"
#include "core/mailbox.h"
#include "core/row_pack.h"
#include "core/snapshot.h"
#include "core/view.h"

#define ACCOUNT_WAIT_MS 30000 /* for others of the same account, before ERR_TIMEOUT */

/* Thread keys that commits in flight, or just published ones, have given out. */
#define THREADS_RECENT 256
struct thread_recent {
    uint64_t key, thread;
};

struct accounts {
    struct arena self;
    struct accounts_options o;
    struct map open;  /* id -> struct account */
    struct list idle; /* unused ones, the longest unused first */
    size_t idle_count;
    uint64_t bytes;             /* of rows in all views */
    size_t unpacked;            /* of that, rows that are not packed, or packed too */
    struct list views;          /* all of them */
    struct view_keeper *keeper; /* packs, and writes snapshots; NULL: nobody does */
    struct fiber_group group;
    struct search_indexer *indexer;       /* told of every change; NULL: none */
    struct search_background *background; /* these are its own: session threads commit for it */
};

struct box {
    struct mailbox pub; /* first */
    struct arena self, names;
    struct account *account;
    struct keyword_table table;
    struct mailbox_row row; /* published; slices in names */
    struct state_row head;  /* predicted */
    bool head_gone;         /* a submitted commit deletes it */
    bool purging;
    bool fresh; /* made by a commit that is being published */
    struct mailbox_view *view;
    uint64_t behind;      /* rows changed while there was no view */
    bool snapshot_wanted; /* by the keeper */
    bool snapshot_bad;    /* what is stored cannot be used */
};

struct account {
    struct arena self;
    struct accounts *owner;
    uint64_t id;
    size_t users;
    struct list idle_link;

    struct head_row pub; /* published */
    uint64_t pub_version;
    struct head_row head; /* predicted */
    uint64_t head_version;

    struct list in_flight; /* of struct change, in order of submission */
    struct map boxes;      /* id -> struct box */
    struct buf order;      /* struct box *, sorted by path, without those being purged */
    struct thread_recent recent[THREADS_RECENT];
    size_t recent_next;

    bool loaded, stale, refreshing, following, watching;
    bool turn_taken, purge_running;
    struct event settled; /* in_flight is empty, or refreshing ended */
    struct event turn_free;
    struct list watchers;
    struct store_watch watch;
};

static inline struct box *box_of(const struct mailbox *m) { return (struct box *)m; }
struct box *box_get(struct account *a, uint32_t id); /* also purging ones */
/* Takes in a MAILBOX row: a new box or a changed one. */
enum err box_apply(struct account *a, uint32_t id, str value, uint64_t version) MUST;
void box_forget(struct account *a, uint32_t id); /* its row is gone; its view is told */
void mailbox_purge_start(struct account *a);     /* if there is anything to purge */

/* Waits until the account can take a new commit: loaded, and not broken. */
enum err account_ready(struct account *a) WAITS MUST;
void account_published(struct account *a);
void account_follow(struct account *a); /* starts the watch */
/* Like account_open, but nothing of it is loaded: for what reads rows alone. */
enum err account_open_rows(struct accounts *as, uint64_t id, struct account **out) MUST;
struct account *account_ref(struct account *a);

/* One at a time within an account: what must know where else a message is. Not across accounts. */
enum err turn_take(struct account *a) WAITS MUST;
void turn_give(struct account *a);

/* ---- a commit being composed, then in flight ---- */
enum effect_kind { EFFECT_ADDED, EFFECT_FLAGS, EFFECT_EXPUNGED, EFFECT_BOX, EFFECT_BOX_GONE };
struct effect {
    enum effect_kind kind;
    uint32_t mailbox;
    struct message_row *rows; /* ADDED, FLAGS: as they are now; EXPUNGED: uid counts; by UID */
    size_t n;
    str row;    /* BOX: the value */
    bool hides; /* BOX: it is now being purged */
    struct effect *next;
};
struct touched {
    uint32_t mailbox;
    struct state_row state; /* after */
    bool deleted;           /* the row goes */
    struct touched *next;
};
struct change {
    struct list link;
    struct account *account;
    struct arena arena;
    uint64_t version;
    struct head_row head; /* after */
    struct store_op *ops;
    size_t nops, ops_cap;
    struct store_blob_new *blobs;
    size_t nblobs;
    struct blob_id *refs, *drops;
    size_t nrefs, ndrops;
    struct effect *effects, **effects_end;
    struct touched *touched;
    struct buf log;
    struct mailbox_session *by;
    struct store_pending *pending;
    enum err failed; /* sticky, while composing */
    bool published;
    bool expects; /* one row more than the head must be as it was read; value empty: absent */
    str expect_key, expect_value;
};
#define CHANGE_BYTES_MAX 8388608

/* From here to change_commit or change_drop the caller must not wait. */
enum err change_begin(struct account *a, struct change **out) WAITS MUST;
void change_drop(struct change *c);
void change_put(struct change *c, struct store_key key, str value); /* copies value */
void change_delete(struct change *c, struct store_key key);
void change_delete_range(struct change *c, struct store_key from, struct store_key to);
/* The commit holds only while the row is as it was read before (empty: absent); once per commit. */
void change_expect(struct change *c, struct store_key key, str value);
/* The mailbox's state as this commit leaves it; NULL without memory (sticky). */
struct state_row *change_state(struct change *c, struct box *b);
void change_effect(struct change *c, enum effect_kind kind, uint32_t mailbox,
                   struct message_row *rows, size_t n);
void change_box(struct change *c, uint32_t mailbox, const struct mailbox_row *row, bool created);
void change_note(struct change *c, enum change_kind kind, uint32_t mailbox);
void change_note_entry(struct change *c, const struct change_entry *e);
/* Durable and published, or an error; frees c. ERR_CONFLICT: compose again. */
enum err change_commit(struct change *c, const struct store_token *token,
                       struct store_result *result) WAITS MUST;
/* After CONFLICT or BUSY, up to MESSAGE_TRIES times: compose again. Else *e is the answer. */
bool change_again(enum err *e, unsigned *tries) WAITS;
/* Composes one commit on what is published now, and again when others were quicker. Takes the
 * account's turn. fn must not wait; its error ends it. */
typedef enum err change_step_fn(struct change *c, void *arg);
enum err change_run_step(struct account *a, change_step_fn *fn, void *arg) WAITS MUST;
/* A row as the commits in flight will leave it. False: it is not there (any more). */
bool change_predicted(struct account *a, struct mailbox_view *v, uint32_t uid,
                      struct message_row *out);
/* Is a commit in flight that changes flags of messages of the mailbox? */
bool change_sets_flags(const struct account *a, uint32_t mailbox);

/* ---- views ---- */
#define CHUNK_ROWS ROW_PACK_ROWS
struct chunk {
    struct row_sum sum;
    struct buf rows;        /* struct message_row; empty: only packed */
    struct buf packed;      /* empty: changed since */
    size_t before;          /* rows in the chunks before; valid below ranked */
    size_t bytes, unpacked; /* as counted in struct accounts */
    bool used;              /* since the keeper was here last */
};
struct view_snapshot {
    struct buf row;      /* the manifest as it was read or written; empty: none */
    struct buf parts;    /* struct snapshot_part, as the row names them */
    uint64_t version;    /* the row's */
    uint32_t covered;    /* last UID of the last part */
    struct set touched;  /* changed since, up to `covered`; while saving: all that change */
    bool touched_all;    /* too many to remember */
    bool saving, wanted; /* wanted: the keeper knows */
    bool ended;          /* looked at by view_keeper_stop */
    uint64_t cost;       /* rows and commits that a load would have to read besides */
};
struct mailbox_view {
    struct arena self;
    struct account *account;
    uint32_t mailbox;
    size_t users;
    bool loading, loaded, gone, broken;
    struct set redo; /* changed while loading */
    struct view_snapshot snapshot;
    struct list every; /* in accounts->views */
    struct buf chunks; /* struct chunk */
    size_t ranked;     /* chunks whose `before` is right */
    size_t count;
    struct list sessions, watchers;
    struct event loaded_event;
};
void view_free(struct mailbox_view *v);
void view_gone(struct mailbox_view *v);
/* Publishes rows: new ones and changed ones alike. by: not told of flags. */
void view_apply_rows(struct mailbox_view *v, const struct message_row *rows, size_t n,
                     uint64_t version, const struct mailbox_session *by);
void view_apply_expunged(struct mailbox_view *v, const struct message_row *rows, size_t n,
                         uint64_t version);
/* Reads these UIDs again from the store and takes in what differs. */
enum err view_reread(struct mailbox_view *v, const struct set *uids, uint64_t version) WAITS MUST;
void view_signal(struct mailbox_view *v);
void watchers_signal(struct list *watchers);
/* session.c: */
void session_push_expunged(struct mailbox_session *s, const struct set *uids, uint64_t version);
void session_push_changed(struct mailbox_session *s, const struct set *uids, uint64_t version);

/* view_rows.c: */
enum row_put { ROW_PUT_SAME, ROW_PUT_NEW, ROW_PUT_CHANGED, ROW_PUT_FAILED };
enum row_put view_row_put(struct mailbox_view *v, const struct message_row *row);
/* Removes the UIDs of rows (ascending) that are there; *gone gets them. */
enum err view_rows_remove(struct mailbox_view *v, const struct message_row *rows, size_t n,
                          struct set *gone) MUST;
void view_clear(struct mailbox_view *v);
/* A packed chunk behind all others. False: no memory. */
bool view_chunk_put(struct mailbox_view *v, const struct row_sum *sum, str packed);
/* The rows from UID `from` on, up to `to` or to the end of their chunk, packed; appends.
 * ERR_EOF: there are none. */
enum err view_chunk_take(struct mailbox_view *v, uint32_t from, uint32_t to, struct row_sum *sum,
                         struct buf *packed) MUST;
/* Packs what nobody looked at since the last call (or all), at most `packs` chunks that changed;
 * returns what is left of packs. */
size_t view_pack(struct mailbox_view *v, size_t packs, bool all);
/* view.c: without the truth about the rows, sessions end. */
void view_failed(struct mailbox_view *v, enum err e);
/* Reads a range of UIDs again and takes in what differs. */
enum err view_reread_range(struct mailbox_view *v, uint32_t first, uint32_t last,
                           uint64_t version) WAITS MUST;

/* Removes rows of one mailbox in one commit (at most MESSAGE_BATCH); the turn must be held. With
 * keep_deleted_only only rows that have \Deleted go. done: UIDs removed. */
enum err message_remove_batch(struct account *a, uint32_t mailbox, struct mailbox_view *v,
                              const struct message_row *rows, size_t n, bool deleted_only,
                              struct set *done, uint64_t *modseq) WAITS MUST;

#endif
