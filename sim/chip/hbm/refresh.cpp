#include "chip/hbm/refresh.h"

#include <bit>
#include <cmath>

#include "base/error.h"

namespace memwall::chip {
namespace {

RefreshKind kind_of(const std::string& name) {
    if (name == "none") return RefreshKind::none;
    if (name == "per_bank") return RefreshKind::per_bank;
    if (name == "all_bank") return RefreshKind::all_bank;
    throw InputError("/hbm/refresh", name, "per_bank, all_bank, none");
}

}  // namespace

RefreshSchedule::RefreshSchedule(const device::HbmParams& p, const HbmTiming& timing, int banks, std::uint32_t seed)
    : kind_(kind_of(p.refresh)),
      postpone_max_(kind_ == RefreshKind::per_bank ? p.refresh_postpone_max / timing.gang : 0),
      interval_(kind_ == RefreshKind::per_bank ? timing.refi / banks : timing.refi),
      phase_(static_cast<double>((seed * 0x9E3779B1U) >> 8) / static_cast<double>(1U << 24)),
      per_round_(kind_ == RefreshKind::per_bank ? static_cast<std::uint64_t>(banks) : 1),
      all_(banks == 64 ? ~0ULL : (1ULL << banks) - 1),
      remaining_(all_),
      settle_(timing.rfcab + timing.rfcpb + timing.rc + timing.rp),
      last_(static_cast<int>(seed % static_cast<std::uint32_t>(banks))) {
    next_due_ = due_of(0);
}

Clk RefreshSchedule::due_of(std::uint64_t number) const {
    if (kind_ == RefreshKind::none) return kNeverClk;
    return static_cast<Clk>(std::ceil((static_cast<double>(number) + phase_) * interval_));
}

std::uint64_t RefreshSchedule::fallen_due(Clk now) const {
    if (kind_ == RefreshKind::none) return 0;
    const double number = std::ceil(static_cast<double>(now) / interval_ - phase_);
    return number < 0 ? 0 : static_cast<std::uint64_t>(number);
}

void RefreshSchedule::fall_due() {
    ++owed_;
    next_due_ = due_of(++numbered_);
}

int RefreshSchedule::pick(std::uint64_t idle) const {
    const std::uint64_t choice = remaining_ & idle;
    if (choice == 0) return -1;
    const std::uint64_t later = choice & ~((2ULL << last_) - 1);
    return std::countr_zero(later != 0 ? later : choice);
}

void RefreshSchedule::issued(int bank) {
    --owed_;
    ++done_;
    if (kind_ == RefreshKind::all_bank) return;
    last_ = bank;
    remaining_ &= ~(1ULL << bank);
    if (remaining_ == 0) remaining_ = all_;
}

void RefreshSchedule::skip_rounds(Clk now) {
    if (owed_ > 0) return;
    const double spare = static_cast<double>(now - next_due_ - settle_) / (interval_ * static_cast<double>(per_round_));
    if (spare < 2) return;
    // Two rounds stay: after one, every bank has been refreshed and closed, whatever was open before.
    const std::uint64_t skipped = (static_cast<std::uint64_t>(spare) - 1) * per_round_;
    numbered_ += skipped;
    done_ += skipped;
    next_due_ = due_of(numbered_);
}

}  // namespace memwall::chip
