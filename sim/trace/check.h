// What must hold of a trace before anyone runs it: a trace that passes cannot index outside itself, cannot wait for a
// fill that nobody commits, and leaves no stage unreleased.
#pragma once

#include "trace/trace.h"

namespace memwall::trace {

/// Throws InputError naming kernel, role and step (or tensor) for the first rule that the trace breaks:
///  - tensors: 1 to 5 dimensions, positive extents and strides, pages only along an existing dimension;
///  - the grid: positive extents, a multiple of the cluster, and CTAs enough that no work item is left out;
///  - rings: one role instance fills a ring; as many releases complete a stage as role instances read it; a stage's
///    loads fit it; stages in shared memory fit what the kernel asks for;
///  - roles: loops matched and at most kLoopDepth deep; counters used only inside their loop; acquire, load, commit in
///    this order; no release of a stage that is not held, none held at the end; a loop leaves what it found;
///  - balance: for every kind of work item a ring's readers wait for exactly as many fills as are committed.
/// The work grows with the length of the trace, not with the size of the tensors.
void check(const Trace& trace);

/// The last rule alone, for one kernel.
void check_ring_balance(const Kernel& kernel);

}  // namespace memwall::trace
