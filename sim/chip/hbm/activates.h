// When the next ACT may go: rrds after any, rrdl after one in the same bank group, no five in a window of faw.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "chip/hbm/timing.h"

namespace memwall::chip {

class ActivateWindow {
public:
    explicit ActivateWindow(const HbmTiming& timing)
        : rrds_(timing.rrds),
          rrdl_(timing.rrdl),
          faw_(timing.faw),
          gang_spread_(timing.gang_spread),
          gang_(timing.gang) {
        last_four_.fill(-1000);
        group_ok_.fill(0);
    }
    /// Earliest ACT of any bank.
    [[nodiscard]] Clk any_ok() const { return any_ok_; }
    [[nodiscard]] Clk group_ok(int group) const { return group_ok_[static_cast<std::size_t>(group)]; }

    /// Opens the banks of a gang, the first at `now`; returns the clock of the last ACT.
    Clk issue(int group, Clk now) {
        Clk at = now;
        for (int bank = 0; bank < gang_; ++bank) {
            if (bank > 0) at = any_ok_;
            last_four_[oldest_] = at;
            oldest_ = (oldest_ + 1) % last_four_.size();
            any_ok_ = std::max(at + rrds_, last_four_[oldest_] + faw_);
        }
        // Each bank of the next gang follows this one's in its own bank group.
        group_ok_[static_cast<std::size_t>(group)] = at - gang_spread_ + rrdl_;
        return at;
    }

private:
    Clk rrds_, rrdl_, faw_, gang_spread_;
    int gang_;
    Clk any_ok_ = 0;
    std::array<Clk, 4> last_four_;
    std::size_t oldest_ = 0;
    std::array<Clk, 64> group_ok_;
};

}  // namespace memwall::chip
