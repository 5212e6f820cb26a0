// The tile recorder: per tile and stage of a kernel, when its load was issued, when it had landed, when the
// computation on it began and when it was done. A kernel takes a pointer to a log; null records nothing, and the
// variant of the kernel without a recorder is compiled apart, so that measuring costs what measuring costs and no more.
#pragma once

#include <cstdint>

namespace memwall::kernels {

/// One step of one CTA. Times are SM clock cycles (clock64) of its own SM; ClockPair turns them into nanoseconds.
struct TileEvent {
    std::uint32_t sm, cta;
    std::uint32_t item;  ///< which of the CTA's work items, counted over the whole kernel
    std::uint32_t step;  ///< step of k, or key tile, within the item
    std::uint64_t load_issued, load_landed, compute_begun, compute_done;
};

/// Both clocks read together at the start and at the end of a CTA: an SM's cycles laid on the common time.
struct ClockPair {
    std::uint64_t begin_cycles, begin_ns, end_cycles, end_ns;
};

/// Where a kernel writes. `capacity` events per CTA; a CTA that has more stops writing and counts on.
struct TileLog {
    TileEvent* events = nullptr;      ///< [ctas][capacity]
    std::uint32_t* counts = nullptr;  ///< [ctas], may exceed capacity
    ClockPair* clocks = nullptr;      ///< [ctas]
    std::uint32_t capacity = 0;
};

}  // namespace memwall::kernels
