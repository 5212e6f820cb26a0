#include "chip/hbm/pseudo_channel.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <string>

#include "base/error.h"

namespace memwall::chip {
namespace {

constexpr int kEntryBytes = 64;
/// Age cap in times that the read queue takes to drain at peak.
constexpr Clk kAgeCapDrains = 4;

Clk age_cap(const device::HbmParams& p, const HbmTiming& timing) {
    return kAgeCapDrains * p.read_queue_entries * (kEntryBytes / p.burst_bytes) * timing.ccds;
}

}  // namespace

PseudoChannel::PseudoChannel(const device::HbmParams& p, std::uint32_t seed)
    : timing_(p),
      map_(p),
      refresh_(p, timing_, map_.banks(), seed),
      banks_(map_.banks(), p.read_queue_entries + p.write_queue_entries, age_cap(p, timing_)),
      bus_(timing_, map_),
      activates_(timing_),
      batching_(p, timing_),
      close_pages_(p.page_policy == "closed"),
      entry_bursts_(std::max(1, kEntryBytes / p.burst_bytes)),
      page_bursts_(p.gang_page_bytes() / p.burst_bytes),
      burst_bytes_(p.burst_bytes),
      capacity_{p.read_queue_entries, p.write_queue_entries},
      age_cap_(age_cap(p, timing_)),
      arriving_(std::bit_ceil(static_cast<std::size_t>(p.read_queue_entries + p.write_queue_entries))) {}

void PseudoChannel::push(const DramRequest& r) {
    const Direction d = r.write ? kWrite : kRead;
    if (r.bursts == 0 || r.first_burst + r.bursts > page_bursts_) {
        throw ModelError("pseudo-channel: run of bursts " + std::to_string(r.first_burst) + " + " +
                         std::to_string(r.bursts) + " in a page of " + std::to_string(page_bursts_));
    }
    if (!backlog_[d].empty() || entries_[d] + entries_of(r.bursts) > capacity_[d]) {
        backlog_[d].push(r);
    } else {
        enqueue(r, 0);
    }
}

/// The queue has room again: those that wait in front of it move up.
void PseudoChannel::admit_backlog(Direction d) {
    while (!backlog_[d].empty() && entries_[d] + entries_of(backlog_[d].front().bursts) <= capacity_[d]) {
        enqueue(backlog_[d].front(), now_);
        backlog_[d].pop();
    }
}

void PseudoChannel::enqueue(const DramRequest& r, Clk soonest) {
    const Direction d = r.write ? kWrite : kRead;
    entries_[d] += entries_of(r.bursts);
    const NodeIndex index = banks_.allocate();
    const BankPlace place = map_.place(r.page);
    DramNode& n = banks_.node(index);
    n.visible = std::max(soonest, timing_.edge_at(static_cast<double>(r.arrival.count) + timing_.controller_ps));
    n.tag = r.tag;
    n.row = place.row;
    n.bursts = n.all_bursts = r.bursts;
    n.bank = static_cast<std::uint8_t>(place.bank);
    n.direction = d;
    // Callers push almost in order of time; a late one goes before those that become visible after it.
    std::size_t at = arriving_head_ + arriving_size_++;
    for (; at > arriving_head_; --at) {
        const NodeIndex earlier = arriving(at - 1);
        if (banks_.node(earlier).visible <= n.visible) break;
        arriving(at) = earlier;
    }
    arriving(at) = index;
    next_arrival_ = banks_.node(arriving(arriving_head_)).visible;
    next_ = std::min(next_, n.visible);
}

Clk PseudoChannel::next_arrival() const {
    return arriving_size_ == 0 ? kNeverClk : next_arrival_;
}

void PseudoChannel::arrive() {
    const NodeIndex index = arriving(arriving_head_);
    ++arriving_head_;
    if (--arriving_size_ > 0) next_arrival_ = banks_.node(arriving(arriving_head_)).visible;
    DramNode& n = banks_.node(index);
    n.order = ++orders_;
    if (!working()) account_.idle(now_);
    Bank& bank = banks_[n.bank];
    if (bank.pre_at <= now_) precharge(n.bank);
    waiting_bursts_[n.direction] += n.bursts;
    banks_.insert(index);
    update_bank(n.bank);
    if (n.direction == direction() && (banks_.hits(n.direction) & bit(n.bank)) != 0) new_hit(n.bank);
    decide_direction();
}

Clk PseudoChannel::next_work() {
    if (!row_.known) plan_row();
    if (!column_.known) plan_column();
    return std::min({next_arrival(), bus_.first_end(), batching_.turn_at(), row_.at, column_.at});
}

void PseudoChannel::decide_at(Clk now, std::vector<DramCompletion>& done) {
    now_ = now;
    if (next_arrival() <= now) return arrive();
    if (bus_.first_end() <= now) return end_run(done);
    if (batching_.turn_at() <= now) return turn();
    if (row_.at <= now) return activate(row_.bank);
    column(column_.bank);
}

void PseudoChannel::advance(Ps until, std::vector<DramCompletion>& done) {
    const Clk limit = timing_.edge_at(static_cast<double>(until.count));
    if (next_ >= limit) return;
    constexpr int kMostAtOnce = 1 << 16;  // more decisions than a full queue could need
    Clk clock = -1;
    for (int at_once = 0;; ++at_once) {
        const Clk work = next_work();
        if (work > clock) {
            clock = work;
            at_once = 0;
        } else if (at_once > kMostAtOnce) {
            throw ModelError(
                fmt::format("a pseudo-channel decides without end at clock {}, {} read and {} write bursts waiting",
                            now_, waiting_bursts_[kRead], waiting_bursts_[kWrite]));
        }
        if (work >= limit) {
            next_ = work;
            return;
        }
        if (refresh_.next_due() <= work)
            refresh_before(work);
        else
            decide_at(work, done);
    }
}

Ps PseudoChannel::next_due() const {
    return next_ >= kNeverClk ? kNever : timing_.ps(next_);
}

HbmTime PseudoChannel::time(Ps now) const {
    ColumnBus bus = bus_;
    BusAccount account = account_;
    const Clk clock = timing_.edge_at(static_cast<double>(now.count));
    const Settled sent = bus.settle(clock, direction());
    if (sent.bursts > 0) account.transfer(sent.bursts, timing_.bl, sent.last + timing_.bl, false);
    return account.at(now, timing_.tck_ps, working());
}

void PseudoChannel::observe(Ps now, ChannelObservation& out) const {
    out.read_bytes = bytes_[kRead];
    out.write_bytes = bytes_[kWrite];
    out.row_hits = row_hits_;
    out.row_misses = row_misses_;
    out.row_conflicts = row_conflicts_;
    out.activates = activate_count_;
    // Refreshes of an idle pseudo-channel are caught up when work arrives; they count when they fell due.
    const bool idle = entries_[kRead] + entries_[kWrite] == 0;
    const std::uint64_t due = refresh_.fallen_due(timing_.edge_at(static_cast<double>(now.count)));
    out.refreshes = idle ? std::max(due, refresh_.done()) : refresh_.done();
    if (refresh_.kind() == RefreshKind::per_bank) out.refreshes *= static_cast<std::uint64_t>(timing_.gang);
    out.time = time(now);
}

}  // namespace memwall::chip
