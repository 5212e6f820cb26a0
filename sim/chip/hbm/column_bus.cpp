#include "chip/hbm/column_bus.h"

#include <algorithm>
#include <string>

#include "base/error.h"

namespace memwall::chip {

ColumnBus::ColumnBus(const HbmTiming& timing, const BankMap& map)
    : timing_(timing),
      pitch_shift_(std::has_single_bit(static_cast<std::uint64_t>(timing.pitch))
                       ? std::countr_zero(static_cast<std::uint64_t>(timing.pitch))
                       : -1),
      slot_mask_(timing.ccds - 1) {
    if (!std::has_single_bit(static_cast<std::uint64_t>(timing.ccds))) {
        throw InputError("/hbm/nccds", std::to_string(timing.ccds) + " clocks", "a power of two");
    }
    if (timing.lanes > kMaxLanes) {
        throw InputError("/hbm/nccdl", std::to_string(timing.ccdl) + " clocks",
                         "at most " + std::to_string(kMaxLanes * timing.ccds) + " clocks");
    }
    group_last_write_.fill(-1000);
    for (int bank = 0; bank < map.banks(); ++bank) {
        const auto b = static_cast<std::size_t>(bank);
        group_[b] = static_cast<std::uint8_t>(map.group_of(bank));
        sid_[b] = static_cast<std::uint8_t>(map.sid_of(bank));
        group_banks_[group_[b]] |= bit(bank);
        sid_banks_[sid_[b]] |= bit(bank);
    }
    refresh_lanes();
}

void ColumnBus::join(int bank, NodeIndex node, std::int32_t bursts, Clk now) {
    const auto b = static_cast<std::size_t>(bank);
    if (sid_[b] != last_sid_) {
        last_sid_ = sid_[b];
        sid_since_ = now;
    }
    lanes_[static_cast<std::size_t>(active_++)] = {now,       bursts, node, static_cast<std::uint8_t>(bank),
                                                   group_[b], sid_[b]};
    serving_ |= bit(bank);
    compatible_ = (active_ == 1 ? ~0ULL : compatible_) & sid_banks_[sid_[b]] & ~group_banks_[group_[b]];
    const Clk end = now + (bursts - 1) * timing_.pitch;
    if (end < first_end_) {
        first_end_ = end;
        first_lane_ = active_ - 1;
    }
}

Settled ColumnBus::settle(Clk now, Direction direction) {
    Settled settled{0, last_};
    for (int i = 0; i < active_; ++i) {
        Lane& lane = lanes_[static_cast<std::size_t>(i)];
        if (now <= lane.next) continue;
        const Clk span = now - lane.next + timing_.pitch - 1;
        const Clk sent = std::min<Clk>(lane.left, pitch_shift_ >= 0 ? span >> pitch_shift_ : span / timing_.pitch);
        lane.next += sent * timing_.pitch;
        lane.left -= static_cast<std::int32_t>(sent);
        const Clk last = lane.next - timing_.pitch;
        settled.bursts += sent;
        settled.last = std::max(settled.last, last);
        group_ok_[lane.group] = last + timing_.ccdl;
        if (direction == kWrite) group_last_write_[lane.group] = last;
    }
    last_ = settled.last;
    if (settled.bursts > 0) last_of_[direction] = last_;
    return settled;
}

Lane ColumnBus::leave(int i) {
    const Lane left = lanes_[static_cast<std::size_t>(i)];
    lanes_[static_cast<std::size_t>(i)] = lanes_[static_cast<std::size_t>(--active_)];
    refresh_lanes();
    return left;
}

void ColumnBus::admit(int sid) {
    compatible_ = sid < 0 ? ~0ULL : sid_banks_[static_cast<std::size_t>(sid)];
}

void ColumnBus::turn(Direction to) {
    if (to == kWrite) {
        turned_ = last_of_[kRead] + timing_.read_to_write;
        group_turned_.fill(0);
        return;
    }
    turned_ = last_of_[kWrite] + timing_.write_to_read_s;
    for (std::size_t g = 0; g < group_turned_.size(); ++g) {
        group_turned_[g] = group_last_write_[g] + timing_.write_to_read_l;
        group_ok_[g] = std::max(group_ok_[g], group_turned_[g]);
    }
}

void ColumnBus::refresh_lanes() {
    serving_ = 0;
    compatible_ = ~0ULL;
    first_end_ = kNeverClk;
    for (int i = 0; i < active_; ++i) {
        const Lane& lane = lanes_[static_cast<std::size_t>(i)];
        serving_ |= bit(lane.bank);
        compatible_ &= sid_banks_[lane.sid] & ~group_banks_[lane.group];
        const Clk end = lane.next + (lane.left - 1) * timing_.pitch;
        if (end < first_end_) {
            first_end_ = end;
            first_lane_ = i;
        }
    }
}

}  // namespace memwall::chip
