// Turns between reads and writes, and refresh, of a pseudo-channel.
#include <algorithm>
#include <utility>

#include "chip/hbm/pseudo_channel.h"

namespace memwall::chip {

void PseudoChannel::decide_direction() {
    WriteBatching::Queues q{{waiting_bursts_[kRead], waiting_bursts_[kWrite]}, 0, bus_.active(), reads_gone_at_};
    if (direction() == kWrite && q.waiting[kRead] > 0) {
        settle(now_);
        for (int i = 0; i < bus_.active(); ++i) q.in_service += bus_.lane(i).left;
    }
    if (batching_.decide(q, now_)) update_all_banks();
}

void PseudoChannel::turn() {
    if (!working()) account_.idle(now_);
    cut_runs();
    if (direction() == kRead && waiting_bursts_[kRead] == 0) reads_gone_at_ = std::min(reads_gone_at_, now_);
    batching_.turn();
    bus_.turn(direction());
    update_all_banks();
    decide_direction();
}

void PseudoChannel::update_all_banks() {
    const std::uint64_t concerned = banks_.pending(kRead) | banks_.pending(kWrite) | row_wanted_;
    for_each_bank(concerned, [this](int bank) { update_bank(bank); });
    row_.known = column_.known = false;
}

/// The refresh that falls due comes before any other decision, the next of which is due at `work`.
void PseudoChannel::refresh_before(Clk work) {
    if (quiet()) refresh_.skip_rounds(work);
    now_ = refresh_.next_due();
    refresh_.fall_due();
    if (refresh_.kind() == RefreshKind::all_bank) return refresh_all_banks();
    refresh_idle_banks();
    if (refresh_.must_force()) force_refresh();
}

void PseudoChannel::refresh_idle_banks() {
    std::uint64_t idle =
        ~(banks_.pending(kRead) | banks_.pending(kWrite) | bus_.serving()) | (forced_ & ~bus_.serving());
    while (refresh_.owed()) {
        const int bank = refresh_.pick(idle & forced_) >= 0 ? refresh_.pick(idle & forced_) : refresh_.pick(idle);
        if (bank < 0) return;
        refresh_bank(bank);
        idle &= ~bit(bank);
    }
    release_forced();
}

/// Nothing is owed any more: banks that were kept free serve their requests again. (A refresh yet to come wakes nobody,
/// so they could not wait for it.)
void PseudoChannel::release_forced() {
    const std::uint64_t released = std::exchange(forced_, 0);
    if (released == 0) return;
    column_.known = false;
    for_each_bank(released, [this](int bank) { update_bank(bank); });
}

/// No bank of this round is idle and no more may be owed: the one with the fewest requests is refreshed, and they wait.
void PseudoChannel::force_refresh() {
    int choice = -1;
    for_each_bank(refresh_.remaining() & ~forced_, [&](int bank) {
        if (bank < banks_.size() && (choice < 0 || banks_.waiting(bank) < banks_.waiting(choice))) choice = bank;
    });
    if (choice < 0) return;
    forced_ |= bit(choice);
    column_.known = false;
    update_bank(choice);
    refresh_idle_banks();
}

void PseudoChannel::refresh_bank(int bank) {
    Bank& b = banks_[bank];
    const Clk closed = b.row == kClosed ? b.act_ok : std::max(b.act_ok, std::max(now_, b.pre_ok) + timing_.rp);
    b.act_ok = b.refresh_until = std::max(now_, closed) + timing_.rfcpb;
    b.conflict = false;
    if ((banks_.hits(direction()) & bit(bank)) != 0) column_.known = false;
    banks_.close(bank);
    refresh_.issued(bank);
    forced_ &= ~bit(bank);
    update_bank(bank);
}

void PseudoChannel::refresh_all_banks() {
    cut_runs();
    Clk start = now_;
    for (int bank = 0; bank < banks_.size(); ++bank) {
        const Bank& b = banks_[bank];
        const Clk pre = std::max(b.pre_ok, b.pre_at == kNeverClk ? now_ : std::min(b.pre_at, std::max(now_, b.pre_ok)));
        const Clk first_bank = b.row == kClosed ? b.act_ok : std::max(b.act_ok, pre + timing_.rp);
        start = std::max(start, first_bank + timing_.gang_spread);
    }
    for (int bank = 0; bank < banks_.size(); ++bank) {
        Bank& b = banks_[bank];
        b.act_ok = b.refresh_until = start + timing_.rfcab;
        b.conflict = false;
        banks_.close(bank);
    }
    refresh_.issued(-1);
    update_all_banks();
    decide_direction();
}

}  // namespace memwall::chip
