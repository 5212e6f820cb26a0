// Row commands of a pseudo-channel: which bank is closed, which is opened next.
#include <algorithm>

#include "chip/hbm/pseudo_channel.h"

namespace memwall::chip {

/// The direction whose oldest request decides the bank's next row.
Direction PseudoChannel::row_direction(int bank) const {
    const Direction d = direction();
    return (banks_.pending(d) & bit(bank)) != 0 ? d : WriteBatching::other(d);
}

void PseudoChannel::plan_row() {
    row_ = {};
    row_.known = true;
    for_each_bank(row_wanted_, [this](int bank) { consider_row(bank); });
}

/// First come by the clock; then the present direction; then age.
void PseudoChannel::consider_row(int bank) {
    const auto i = static_cast<std::size_t>(bank);
    const Clk at = std::max({row_ok_[i], activates_.any_ok(), activates_.group_ok(map_.group_of(bank)), now_});
    const bool better = at < row_.at || (at == row_.at && row_order_[i] < row_.order);
    if (!better) return;
    row_.at = at;
    row_.bank = bank;
    row_.order = row_order_[i];
}

/// After any change of a bank or its requests: does it want another row?
void PseudoChannel::update_bank(int bank) {
    const Direction d = direction();
    const std::uint64_t self = bit(bank);
    Bank& b = banks_[bank];
    const std::uint64_t present = banks_.pending(d) & ~banks_.hits(d);
    const Direction o = WriteBatching::other(d);
    const std::uint64_t ahead = batching_.prepares() ? banks_.pending(o) & ~banks_.hits(o) & ~banks_.pending(d) : 0;
    const std::uint64_t wanted = (present | ahead) & self & ~bus_.serving() & ~forced_;
    if (wanted == 0 && b.pre_at <= now_) {
        precharge(bank);
        return update_bank(bank);
    }
    if (wanted == 0) {
        b.pre_at = kNeverClk;
    } else if (b.row != kClosed && b.pre_at == kNeverClk) {
        b.pre_at = std::max(now_, b.pre_ok);
    }
    row_wanted_ = (row_wanted_ & ~self) | wanted;
    if (row_.bank == bank) row_.known = false;
    if (wanted == 0) return;
    const auto i = static_cast<std::size_t>(bank);
    row_ok_[i] = b.row == kClosed ? b.act_ok : std::max(b.act_ok, b.pre_at + timing_.rp);
    const Direction asks = row_direction(bank);
    row_order_[i] = banks_.node(b.head[asks]).order | (asks == d ? 0 : 1ULL << 32);
    if (row_.known) consider_row(bank);
}

/// The row was closed at `pre_at`, which has passed: its requests, if any, are misses now.
void PseudoChannel::precharge(int bank) {
    Bank& b = banks_[bank];
    b.act_ok = std::max(b.act_ok, b.pre_at + timing_.rp);
    b.conflict = true;
    const bool had_hits = (banks_.hits(direction()) & bit(bank)) != 0;
    banks_.close(bank);
    if (had_hits) column_.known = false;
}

void PseudoChannel::activate(int bank) {
    Bank& b = banks_[bank];
    const Direction d = row_direction(bank);
    activate_count_ += static_cast<std::uint64_t>(timing_.gang);
    ++(b.row != kClosed || b.conflict ? row_conflicts_ : row_misses_);
    b.conflict = false;
    b.opened = activates_.issue(map_.group_of(bank), now_);
    // A gang's PRE and ACT follow one another at rrds, so its first bank may be what its last one allows, that much
    // before.
    const Clk first = b.opened - timing_.gang_spread;
    b.act_ok = first + timing_.rc;
    b.pre_ok = first + timing_.ras;
    banks_.open(bank, banks_.node(b.head[d]).row, now_);
    row_wanted_ &= ~bit(bank);
    row_.known = false;
    if ((banks_.hits(direction()) & bit(bank)) != 0) new_hit(bank);
}

}  // namespace memwall::chip
