# SPDX-License-Identifier: Apache-2.0
# All fibers of the selected thread's loop with their stacks (x86-64).
# usage: gdb -p PID -x tools/fibers.gdb -ex fibers
# A waiting fiber's registers lie where jump_fcontext put them: rbp at 48, rip at 56, the stack above.
define fibers
  set $saved_rbp = $rbp
  set $saved_rip = $rip
  set $saved_rsp = $rsp
  set $link = loop_this->all.next
  while $link != &loop_this->all
    set $fiber = (struct fiber *)((char *)$link - (unsigned long)&((struct fiber *)0)->all_link)
    printf "fiber %s: %s\n", $fiber->name, $fiber->wait_reason
    if $fiber->state == FIBER_WAITING
      set $context = (unsigned long *)$fiber->context
      set $rbp = $context[6]
      set $rip = $context[7]
      set $rsp = (unsigned long)($context + 8)
      backtrace
      set $rbp = $saved_rbp
      set $rip = $saved_rip
      set $rsp = $saved_rsp
    end
    set $link = $link->next
  end
end
