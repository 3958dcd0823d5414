/* SPDX-License-Identifier: Apache-2.0
 *
 * version: as meson.build has it.
 */
#ifndef APP_VERSION_H
#define APP_VERSION_H

#ifndef POSTHOUSE_VERSION
#define POSTHOUSE_VERSION "0"
#endif

#endif
