// How often a piece of work was done before and while it was timed.
#pragma once

#include <limits>

namespace memwall {

/// On a board that had rested: `warmups` operations, then `repeats` while they are timed. Where a length is given
/// instead, `warmup_ms` of operations, then `timed_ms`. By default one operation alone.
struct Repetition {
    double warmups = 0, repeats = 1;
    double warmup_ms = 0, timed_ms = 0;

    /// For so long that nothing changes any more.
    static constexpr Repetition forever() { return {std::numeric_limits<double>::infinity(), 1}; }

    /// Operations before the timed ones, and timed ones, of an operation that takes so long.
    [[nodiscard]] double before(double us) const { return timed_ms > 0 ? 1e3 * warmup_ms / us : warmups; }
    [[nodiscard]] double timed(double us) const { return timed_ms > 0 ? 1e3 * timed_ms / us : repeats; }
};

}  // namespace memwall
