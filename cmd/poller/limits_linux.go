package main

import (
	"fmt"
	"syscall"
)

// undumpable has the system make no core of the process, not even for a
// program that core files are piped to (which the limit of their size does not
// bind), and keeps its memory and environment from others of the same user.
func undumpable() error {
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_DUMPABLE, 0, 0); errno != 0 {
		return fmt.Errorf("core files off: %w", errno)
	}
	return nil
}
