// The column command bus: which runs are transferring, and when another may join.
//
// Bursts of one bank group are ccdl apart, bursts of different groups ccds. A run of bursts therefore uses every
// (ccdl / ccds)-th slot of the bus, and as many runs of different bank groups fill it: each is a lane. Lanes of
// different SIDs would have to keep ccdr and win nothing over one lane alone (2 bursts in 2 * ccdr = 6 clocks against 1
// in 4: two clocks lost for every burst of the first, either way), so lanes share a SID.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "chip/hbm/banks.h"

namespace memwall::chip {

struct Lane {
    Clk next;           ///< column of its next burst
    std::int32_t left;  ///< bursts to go
    NodeIndex node = kNoNode;
    std::uint8_t bank, group, sid;
};

/// What a call of `ColumnBus::settle` found.
struct Settled {
    Clk bursts = 0;
    Clk last = 0;
};

class ColumnBus {
public:
    static constexpr int kMaxLanes = 4;
    explicit ColumnBus(const HbmTiming& timing, const BankMap& map);

    [[nodiscard]] int active() const { return active_; }
    [[nodiscard]] bool full() const { return active_ == timing_.lanes; }
    [[nodiscard]] const Lane& lane(int i) const { return lanes_[static_cast<std::size_t>(i)]; }
    [[nodiscard]] int sid() const { return last_sid_; }  ///< of the lanes, or of the last burst
    [[nodiscard]] Clk sid_since() const { return sid_since_; }
    [[nodiscard]] std::uint64_t serving() const { return serving_; }  ///< banks that transfer
    /// Banks that may join the lanes: of their SID, not of their bank groups.
    [[nodiscard]] std::uint64_t compatible() const { return compatible_; }
    [[nodiscard]] std::uint64_t banks_of_sid(int sid) const { return sid_banks_[static_cast<std::size_t>(sid)]; }

    /// When the first lane transfers its last burst.
    [[nodiscard]] Clk first_end() const { return first_end_; }
    [[nodiscard]] int first_lane() const { return first_lane_; }

    /// Earliest column for any bank of `sid` after what has been sent and turned around.
    [[nodiscard]] Clk free_at(int sid) const {
        return std::max(last_ + (sid == last_sid_ ? timing_.ccds : timing_.ccdr), turned_);
    }
    /// Earliest column for `bank` by its bank group alone.
    [[nodiscard]] Clk group_ok(int bank) const { return group_ok_[group(bank)]; }
    /// The first slot at or after `clock` that no lane uses.
    [[nodiscard]] Clk slot(Clk clock) const {
        if (active_ == 0) return clock;
        // Slots are counted from the first lane's; a free one comes within a pitch, for there is a free lane.
        const Clk off = phase(clock, lane(0)) & slot_mask_;
        if (off != 0) clock += timing_.ccds - off;
        for (int i = 0; i < active_; ++i) {
            if (phase(clock, lane(i)) != 0) continue;
            clock += timing_.ccds;
            i = -1;
        }
        return clock;
    }
    /// When the bus has turned to the present direction, for `bank`.
    [[nodiscard]] Clk turned(int bank) const { return std::max(turned_, group_turned_[group(bank)]); }

    void join(int bank, NodeIndex node, std::int32_t bursts, Clk now);
    /// Counts the bursts sent before `now`, in all lanes.
    Settled settle(Clk now, Direction direction);
    /// Ends lane `i`; the others keep their slots.
    Lane leave(int i);
    /// Only banks of `sid` may join the empty bus (until one does); -1: all.
    void admit(int sid);
    /// The other direction goes from now on (all lanes have left).
    void turn(Direction to);

private:
    [[nodiscard]] std::size_t group(int bank) const { return group_[static_cast<std::size_t>(bank)]; }
    /// Clocks since the last column that `lane` sent or would have sent, from its start.
    [[nodiscard]] Clk phase(Clk clock, const Lane& lane) const {
        const Clk since = clock - lane.next + timing_.pitch;  // `clock` is not before the lane's previous column
        return pitch_shift_ >= 0 ? since & (timing_.pitch - 1) : since % timing_.pitch;
    }
    void refresh_lanes();

    HbmTiming timing_;
    std::array<Lane, kMaxLanes> lanes_{};
    int active_ = 0;
    int first_lane_ = 0;
    Clk first_end_ = kNeverClk;
    std::uint64_t serving_ = 0, compatible_ = 0;
    Clk last_ = -1000;  // column of the last burst
    int last_sid_ = 0;
    Clk sid_since_ = 0;
    Clk turned_ = 0;
    Clk last_of_[2] = {-1000, -1000};
    std::array<Clk, 64> group_ok_{}, group_turned_{}, group_last_write_{};
    std::array<std::uint8_t, 64> group_{}, sid_{};
    std::array<std::uint64_t, 64> group_banks_{}, sid_banks_{};
    int pitch_shift_;  // -1: not a power of two
    Clk slot_mask_;
};

}  // namespace memwall::chip
