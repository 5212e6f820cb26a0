// Running the chosen cases on a GPU, and staying alive while unproven kernels run: each case is first written down as
// failed, so that a crash leaves its record; a watchdog ends a case that hangs; a process whose GPU context is broken
// is replaced by a fresh one, which goes on with the next case.
#pragma once

#include <string>
#include <vector>

#include "arguments.h"

namespace memwall::measure {

/// Exit status of a worker that wants to be started again: its GPU context is gone.
inline constexpr int kRestart = 75;

/// Starts this program again as a worker, and once more whenever one asks for it or dies, until one ends by itself.
/// Returns its exit status. `program`: how this program was called.
int supervise(const std::string& program, const std::vector<std::string>& words);

/// Runs the cases of `arguments` in this process. Returns the exit status.
int work(const Arguments& arguments);

}  // namespace memwall::measure
