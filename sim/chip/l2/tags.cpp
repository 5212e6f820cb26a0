#include "chip/l2/tags.h"

namespace memwall::chip {

TagStore::TagStore(int sets, int ways, Replacement replacement)
    : ways_(ways),
      last_shift_(4 * (ways - 1)),
      used_(ways == kMaxWays ? ~0ULL : (1ULL << (4 * ways)) - 1),
      replacement_(replacement) {
    Set empty{};
    for (auto& tag : empty.tag) tag = kInvalid;
    empty.order = 0xFEDCBA9876543210ULL;
    sets_.assign(static_cast<std::size_t>(sets), empty);
}

void TagStore::demote(Set& set, int way) const {
    // Bring it to the front, then rotate the front to the last way's place.
    touch(set, way);
    const std::uint64_t rotated = ((set.order & used_) >> 4) | (static_cast<std::uint64_t>(way) << last_shift_);
    set.order = (set.order & ~used_) | rotated;
}

int TagStore::search_victim(const Set& set) {
    if (replacement_ == Replacement::random) {
        random_ ^= random_ << 13;
        random_ ^= random_ >> 7;
        random_ ^= random_ << 17;
        const int start = static_cast<int>(random_ % static_cast<std::uint64_t>(ways_));
        for (int i = 0; i < ways_; ++i) {
            const int way = (start + i) % ways_;
            if (!set.is(set.pending, way)) return way;
        }
        return -1;
    }
    int kept = -1;
    for (int place = ways_ - 1; place >= 0; --place) {
        const auto way = static_cast<int>(set.order >> (4 * place) & 15);
        if (set.is(set.pending, way)) continue;
        if (!set.is(set.keep, way)) return way;
        if (kept < 0) kept = way;
    }
    return kept;
}

}  // namespace memwall::chip
