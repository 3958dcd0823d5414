/* SPDX-License-Identifier: Apache-2.0
 *
 * test_folder: a folder for a test's store, under $TMPDIR or /tmp.
 */
#ifndef STORE_TEST_FOLDER_H
#define STORE_TEST_FOLDER_H

char *test_folder_new(void);
void test_folder_remove(char *path); /* with all in it; frees path */

#endif
