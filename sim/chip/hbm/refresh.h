// Refresh: which bank, when.
//
// JESD238 asks for 8192 refreshes of every bank per retention time: one command for all banks every tREFI, or one per
// bank, spread evenly, so that one falls due every tREFI / banks; the banks of a gang fall due together, and count as
// one here. Commands may be owed up to a limit. Per-bank refresh goes in rounds: each bank once, in any order, so a
// controller that sees its queue refreshes banks that nothing waits for. (Order within a round is free in HBM3; that
// the controller of a GPU uses it is an assumption, supported by reads at 95 % of peak where refresh of all banks would
// leave 91 %.)
//
// This room knows due times and rounds; the pseudo-channel knows its banks and executes.
#pragma once

#include <cstdint>

#include "chip/hbm/timing.h"

namespace memwall::chip {

enum class RefreshKind : std::uint8_t { none, per_bank, all_bank };

class RefreshSchedule {
public:
    /// `seed` shifts the phase, so that the pseudo-channels of a chip do not refresh in step.
    RefreshSchedule(const device::HbmParams& params, const HbmTiming& timing, int banks, std::uint32_t seed);

    [[nodiscard]] RefreshKind kind() const { return kind_; }
    /// When the next command falls due.
    [[nodiscard]] Clk next_due() const { return next_due_; }
    [[nodiscard]] bool owed() const { return owed_ > 0; }
    [[nodiscard]] bool must_force() const { return owed_ > postpone_max_; }
    [[nodiscard]] std::uint64_t done() const { return done_; }
    /// Commands that have fallen due before `now`.
    [[nodiscard]] std::uint64_t fallen_due(Clk now) const;

    void fall_due();
    /// A bank of `idle` that this round still has to refresh; -1: none. Goes round robin.
    [[nodiscard]] int pick(std::uint64_t idle) const;
    [[nodiscard]] std::uint64_t remaining() const { return remaining_; }
    /// `bank` (or all) has been sent its refresh.
    void issued(int bank);
    /// Nothing is queued until `now`: skips whole rounds, which leave no trace.
    void skip_rounds(Clk now);

private:
    [[nodiscard]] Clk due_of(std::uint64_t number) const;

    RefreshKind kind_;
    int postpone_max_;
    double interval_;  // clocks, fractional
    double phase_;
    std::uint64_t per_round_;
    std::uint64_t all_;        // mask of all banks
    std::uint64_t remaining_;  // of this round
    std::uint64_t numbered_ = 0, done_ = 0;
    Clk next_due_;
    Clk settle_;  // a refresh's consequences are over after this
    int owed_ = 0;
    int last_ = 0;
};

}  // namespace memwall::chip
