/* SPDX-License-Identifier: Apache-2.0
 *
 * snapshot: the rows of a large mailbox as a view keeps them, packed into immutable blobs, so that
 * the first SELECT after a start reads a few blobs and what changed since, not a row for each
 * message. Derived (rule store-1): whatever is wrong with it, the view is read from the rows, and
 * the snapshot is written anew.
 *
 * One row for each mailbox (SPACE_SNAPSHOT, struct snapshot_row) names the version and the parts: a
 * blob for SNAPSHOT_PART_ROWS rows or so. A part holds every change up to the version, and may hold
 * later ones: a load reads again each UID that the change log names since, and scans what lies
 * behind the last part. So parts may be written while the mailbox changes, one after the other, and
 * only those are written in which something changed. A part is a row of chunks: 'S', format 1, then
 * for each bytes be32, count be16, first be32, last be32, unseen be16, deleted be16, modseq be64,
 * and its rows (row_pack.h).
 */
#ifndef CORE_SNAPSHOT_H
#define CORE_SNAPSHOT_H

#include "core/row_pack.h"

#define SNAPSHOT_MIN 5000        /* messages; below it reading the rows is quick enough */
#define SNAPSHOT_PART_ROWS 65536 /* more when there would be too many parts */
/* Written again when a load would have to read so many rows and commits besides, but not before an
 * eighth of the mailbox. */
#define SNAPSHOT_COST_MAX 4096

struct account;
struct mailbox_view;

/* Into a view that is being loaded. False: there is none that could be used, read the rows; the
 * view may hold anything then. */
bool snapshot_load(struct mailbox_view *v) WAITS;
/* After a load: the mailbox's counter says the same. */
bool snapshot_agrees(struct mailbox_view *v);
/* Writes what changed. Does not hold up others: runs in slices, a commit for each
 * SNAPSHOT_STAGED_MAX bytes. written (may be NULL): bytes of blobs, also after an error. ERR_BUSY:
 * somebody else is writing one. */
enum err snapshot_save(struct mailbox_view *v, uint64_t *written) WAITS MUST;
#define SNAPSHOT_STAGED_MAX ((size_t)8 << 20)
/* Row and blobs of a mailbox that is being purged. */
enum err snapshot_drop(struct account *a, uint32_t mailbox) WAITS MUST;

void snapshot_init(struct mailbox_view *v);
void snapshot_forget(struct mailbox_view *v);
/* A row changed, came or went. */
void snapshot_touch(struct mailbox_view *v, uint32_t uid);
/* A commit of so many rows was published; the keeper is woken when it is time. */
void snapshot_cost(struct mailbox_view *v, uint64_t rows);
/* The same for a mailbox without a view. */
struct box;
void snapshot_box_behind(struct box *b);
/* It would be worth writing: more than `cost` rows and commits lie behind it. */
bool snapshot_stale(const struct mailbox_view *v, uint64_t cost);

/* Walking through the bytes of a part. ERR_EOF at the end, ERR_CORRUPT. */
enum err snapshot_part_start(str blob, struct reader *r) MUST;
enum err snapshot_part_chunk(struct reader *r, struct row_sum *sum, str *packed) MUST;

/* ---- the keeper: packs views and writes snapshots in the background ---- */
struct accounts;
struct view_keeper;
enum err view_keeper_start(struct accounts *as, struct view_keeper **out) MUST;
/* At a clean end: writes what is worth it for at most VIEW_KEEPER_END_MS, then stops. NULL is
 * fine. Before accounts_close. */
void view_keeper_stop(struct view_keeper *k) WAITS;
#define VIEW_KEEPER_END_MS 2000
void view_keeper_wake(struct view_keeper *k);
void view_keeper_ask(struct view_keeper *k, uint64_t account); /* some snapshot_wanted is set */

#endif
