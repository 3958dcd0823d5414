/* SPDX-License-Identifier: Apache-2.0
 *
 * smtp_fault: what the files of smtp_syntax share.
 */
#ifndef FORMAT_SMTP_FAULT_H
#define FORMAT_SMTP_FAULT_H

#include "format/smtp_syntax.h"

/* Fills *fault and returns e. */
enum err smtp_fail(struct smtp_fault *fault, enum err e, int code, const char *enhanced,
                   const char *text, str where) MUST;

#endif
