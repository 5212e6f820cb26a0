// Column commands of a pseudo-channel: which run takes a lane of the bus, and what its end brings.
#include <algorithm>

#include "chip/hbm/pseudo_channel.h"

namespace memwall::chip {

void PseudoChannel::plan_column() {
    column_ = {};
    column_.known = true;
    hop_ = false;
    if (bus_.full()) return;
    free_slot_ = bus_.slot(std::max(now_, bus_.free_at(bus_.sid())));
    const std::uint64_t ready = banks_.hits(direction()) & ~forced_;
    if (bus_.active() == 0 && (ready & bus_.compatible()) == 0) bus_.admit(-1);
    const bool stay_is_over = bus_.active() > 0 && now_ - bus_.sid_since() > age_cap_;
    if (!stay_is_over) for_each_bank(ready & bus_.compatible(), [this](int bank) { consider_column(bank); });
    if (bus_.active() > 0 && column_.at > now_ + timing_.pitch) plan_hop(column_.at);
    if (stay_is_over && !hop_) for_each_bank(ready & bus_.compatible(), [this](int bank) { consider_column(bank); });
}

/// First come by the clock, then age.
void PseudoChannel::consider_column(int bank) {
    const Bank& b = banks_[bank];
    const Direction d = direction();
    const Clk ready = std::max(b.opened + timing_.rcd[d], bus_.group_ok(bank));
    if (ready > column_.at) return;
    Clk at = free_slot_;
    if (bus_.active() == 0)
        at = std::max({ready, bus_.free_at(map_.sid_of(bank)), now_});
    else if (ready > at)
        at = bus_.slot(ready);
    const Order order = banks_.node(b.hit[d]).order;
    const bool better = at < column_.at || (at == column_.at && order < column_.order);
    if (!better) return;
    column_.at = at;
    column_.bank = bank;
    column_.order = order;
}

/// `bank` has got a row hit.
void PseudoChannel::new_hit(int bank) {
    if (!column_.known || bus_.full()) return;
    // A hit in another SID may make a change of SID worth while: that is for the plan as a whole.
    const bool joins = !hop_ && (bit(bank) & bus_.compatible() & ~forced_) != 0;
    free_slot_ = bus_.slot(std::max(now_, bus_.free_at(bus_.sid())));
    if (joins)
        consider_column(bank);
    else
        column_.known = false;
}

/// With a free lane that this SID cannot fill before `not_after`: could another SID fill all lanes?
void PseudoChannel::plan_hop(Clk not_after) {
    const Direction d = direction();
    const std::uint64_t elsewhere = banks_.hits(d) & ~forced_ & ~bus_.banks_of_sid(bus_.sid());
    if (elsewhere == 0) return;
    Clk first = kNeverClk, second = kNeverClk;
    int bank = -1;
    for_each_bank(elsewhere, [&](int candidate) {
        const Clk at = std::max({banks_[candidate].opened + timing_.rcd[d], bus_.group_ok(candidate), now_});
        const bool same_group = bank >= 0 && map_.group_of(candidate) == map_.group_of(bank);
        if (at < first) {
            if (!same_group) second = first;
            first = at;
            bank = candidate;
        } else if (!same_group) {
            second = std::min(second, at);
        }
    });
    if (second == kNeverClk) return;
    // What the last change of SID was made for has sent a burst by then: two SIDs that are ready at one clock must not
    // take the bus from each other for ever.
    const Clk at = std::max(second, bus_.sid_since() + 1);
    if (at + timing_.pitch >= not_after) return;  // two changes of SID cost less than a pitch
    column_.at = at;
    column_.bank = bank;
    hop_ = true;
}

/// The planned column falls due: a run takes a lane, or the lanes are cut for another SID.
void PseudoChannel::column(int bank) {
    column_.known = false;
    if (hop_) {
        cut_runs();
        bus_.admit(map_.sid_of(bank));
        return;
    }
    Bank& b = banks_[bank];
    const Direction d = direction();
    const NodeIndex index = b.hit[d];
    const DramNode& n = banks_.node(index);
    if (bus_.active() == 0) account_.resume(now_, bus_.turned(bank), b.refresh_until);
    row_hits_ += static_cast<std::uint64_t>(n.bursts - (b.fresh ? 1 : 0));
    b.fresh = false;
    waiting_bursts_[d] -= n.bursts;
    banks_.remove(index);
    bus_.join(bank, index, n.bursts, now_);
    banks_.find_hits(bank, now_);
    if (d == kWrite) decide_direction();
}

/// Books the bursts sent before `now`.
void PseudoChannel::settle(Clk now) {
    const Settled sent = bus_.settle(now, direction());
    if (sent.bursts == 0) return;
    const Clk end = sent.last + timing_.bl;
    bool in_refresh = false;
    if (end - account_.until() > sent.bursts * timing_.bl) {
        const std::uint64_t waiting = banks_.pending(direction());
        in_refresh = waiting != 0;
        for_each_bank(waiting, [&](int bank) { in_refresh = in_refresh && banks_[bank].refresh_until > now_; });
    }
    account_.transfer(sent.bursts, timing_.bl, end, in_refresh);
}

void PseudoChannel::end_run(std::vector<DramCompletion>& done) {
    const Direction d = direction();
    settle(now_ + 1);
    const Lane lane = bus_.leave(bus_.first_lane());
    const DramNode& n = banks_.node(lane.node);
    const Clk last = now_;
    done.push_back({n.tag, d == kWrite, timing_.ps(last + timing_.column_to_data_end[d])});
    entries_[d] -= entries_of(n.all_bursts);
    bytes_[d] += static_cast<std::uint64_t>(n.all_bursts) * static_cast<std::uint64_t>(burst_bytes_);
    banks_.release(lane.node);
    admit_backlog(d);
    Bank& b = banks_[lane.bank];
    b.pre_ok = std::max(b.pre_ok, last + timing_.column_to_precharge[d]);
    column_.known = false;
    if (close_pages_ && b.hit[kRead] == kNoNode && b.hit[kWrite] == kNoNode) {
        b.pre_at = b.pre_ok;
        precharge(lane.bank);
        b.conflict = false;
    }
    if (banks_.waiting(lane.bank) != 0) update_bank(lane.bank);
    if (d == kRead && waiting_bursts_[kRead] == 0 && bus_.active() == 0) reads_gone_at_ = now_;
    if (refresh_.owed()) refresh_idle_banks();
    decide_direction();
}

/// All lanes stop before the burst of this clock; what is left of their runs waits again.
void PseudoChannel::cut_runs() {
    settle(now_);
    while (bus_.active() > 0) put_off(bus_.leave(bus_.active() - 1));
    column_.known = false;
    // A bank that is kept free for its refresh is free now: were it the only one with requests, nobody else would see.
    if (forced_ != 0 && refresh_.owed()) refresh_idle_banks();
}

void PseudoChannel::put_off(const Lane& lane) {
    const Direction d = direction();
    DramNode& n = banks_.node(lane.node);
    Bank& b = banks_[lane.bank];
    if (lane.left < n.bursts) b.pre_ok = std::max(b.pre_ok, lane.next - timing_.pitch + timing_.column_to_precharge[d]);
    row_hits_ -= static_cast<std::uint64_t>(lane.left);
    n.bursts = static_cast<std::uint16_t>(lane.left);
    waiting_bursts_[d] += lane.left;
    banks_.insert(lane.node);
    banks_.find_hits(lane.bank, now_);
    update_bank(lane.bank);
}

}  // namespace memwall::chip
