/* SPDX-License-Identifier: Apache-2.0
 *
 * house_control: the control socket in the data folder. A command sends its words (ipc.def:
 * command); the house runs the same function as the command would alone and answers text or JSON.
 * Who may connect is decided by the socket file's mode (0600, the service user).
 */
#ifndef APP_HOUSE_CONTROL_H
#define APP_HOUSE_CONTROL_H

#include "app/house.h"

#define CONTROL_CONNECTIONS_MAX 16
#define CONTROL_SOCKET_NAME "control.sock"

enum err house_control_start(struct house_process *h) MUST;

#endif
