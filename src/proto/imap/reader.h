/* SPDX-License-Identifier: Apache-2.0
 *
 * reader: takes one complete command off the stream: its line and the literals that its line
 * announces, attached as imap_syntax.h wants them. Message data (APPEND) is left for the command.
 */
#ifndef PROTO_IMAP_READER_H
#define PROTO_IMAP_READER_H

#include "format/imap_syntax.h"
#include "net/stream.h"

#define IMAP_LINE_MAX 65536      /* bytes between two literals */
#define IMAP_COMMAND_MAX 1048576 /* bytes of a command with its attached literals, signed in */
#define IMAP_COMMAND_PREAUTH_MAX 16384

/* Reads into *command (reset first; its max is the limit). *streams: the last line announces
 * message data, which were not read (only where streams_ok). ERR_LINE_TOO_LONG or ERR_LIMIT: too
 * large; the rest was read and dropped where that is possible, the client should get BAD; *command
 * begins with its tag, if it has one. Other errors are the stream's. */
enum err imap_read_command(struct stream *s, struct buf *command, bool streams_ok,
                           bool *streams) WAITS MUST;

/* A literal that comes unasked and is too large even to be dropped: BYE, and the stream fails. */
void imap_refuse_literal(struct stream *s) WAITS;

/* Reads n bytes into out, or drops them (NULL). */
enum err imap_read_bytes(struct stream *s, uint64_t n, struct buf *out) WAITS MUST;

#endif
