// Tags of one L2 slice: set-associative, 128-byte lines of 32-byte sectors, least-recently-used replacement.
//
// The lines of one granule of the address interleave stand in consecutive sets, so a granule's look-up walks adjacent
// memory, and lines that came together leave together. Everything about a set lies in one cache line of the host:
// 16-bit tags, a byte of sectors per line, flags as masks over the ways, and their recency as a permutation, four bits
// each, in one word (a touch is a few shifts, the victim is the top nibble). Simulating a whole token walks 300 million
// sets: this layout is what the simulator's speed hangs on.
#pragma once

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <cstdint>
#include <vector>

namespace memwall::chip {

enum class Replacement : std::uint8_t { lru, random };

class TagStore {
public:
    static constexpr std::uint16_t kInvalid = 0xFFFF;
    static constexpr int kMaxWays = 16;  // nibbles in a word
    static constexpr unsigned kSectors = 0xF;
    static constexpr unsigned kDirtyShift = 4;

    struct alignas(64) Set {
        std::uint16_t tag[kMaxWays];
        std::uint64_t order;
        std::uint16_t far;               ///< by way: a copy of a line whose home is the other partition
        std::uint16_t pending;           ///< a fill is on its way: may not be evicted
        std::uint16_t copied;            ///< home line of which the other partition holds a copy
        std::uint16_t keep;              ///< evict_last
        std::uint8_t sectors[kMaxWays];  ///< present (low nibble), and newer than memory (high nibble)

        [[nodiscard]] bool is(unsigned flags, int way) const { return (flags >> way & 1) != 0; }
    };
    static_assert(sizeof(Set) == 64);
    static void put(std::uint16_t& flags, int way, bool value) {
        flags = static_cast<std::uint16_t>((flags & ~(1U << way)) | static_cast<unsigned>(value) << way);
    }

    TagStore(int sets, int ways, Replacement replacement);

    [[nodiscard]] Set& set(std::size_t index) { return sets_[index]; }
    void prefetch(std::size_t index) const { __builtin_prefetch(&sets_[index]); }

    /// The way that holds `tag`, of a home line or of a copy, or -1. `likely` is tried first.
    [[nodiscard]] static int find(const Set& set, std::uint16_t tag, bool far, int likely) {
        if (set.tag[likely] == tag && set.is(set.far, likely) == far) return likely;
        const unsigned hits = equal(set, tag) & (far ? set.far : static_cast<unsigned>(~set.far) & 0xFFFF);
        return hits != 0 ? __builtin_ctz(hits) : -1;
    }
    /// Makes `way` the most recently used.
    static void touch(Set& set, int way) {
        if ((set.order & 15) == static_cast<std::uint64_t>(way)) return;
        const int place = place_of(set.order, way);
        const std::uint64_t newer = set.order & ((1ULL << (4 * place)) - 1);
        const std::uint64_t through = place == 15 ? ~0ULL : (1ULL << (4 * (place + 1))) - 1;
        set.order = (set.order & ~through) | (newer << 4) | static_cast<std::uint64_t>(way);
    }
    /// The next victim when it is clean and free to go, and becomes the most recently used at once; else -1, and
    /// nothing has changed. This is what nearly every miss of a stream meets.
    [[nodiscard]] int take_clean_victim(Set& set) const {
        const auto way = static_cast<int>(set.order >> last_shift_ & 15);
        const unsigned busy = static_cast<unsigned>(set.pending | set.keep) >> way & 1;
        if ((busy | static_cast<unsigned>(set.sectors[way] >> kDirtyShift)) != 0 || replacement_ != Replacement::lru)
            return -1;
        set.order = (set.order << 4 & used_) | static_cast<std::uint64_t>(way) | (set.order & ~used_);
        return way;
    }
    /// Makes `way` the next victim.
    void demote(Set& set, int way) const;
    /// The way to evict, or -1 when every line of the set awaits a fill.
    [[nodiscard]] int victim(const Set& set) {
        const auto oldest = static_cast<int>(set.order >> (4 * (ways_ - 1)) & 15);
        if (replacement_ == Replacement::lru && !set.is(set.pending | set.keep, oldest)) return oldest;
        return search_victim(set);
    }

private:
    [[nodiscard]] int search_victim(const Set& set);
    static int place_of(std::uint64_t order, int way) {
        const std::uint64_t x = order ^ (0x1111111111111111ULL * static_cast<std::uint64_t>(way));
        return __builtin_ctzll((x - 0x1111111111111111ULL) & ~x & 0x8888888888888888ULL) >> 2;
    }
    static unsigned equal(const Set& set, std::uint16_t tag) {
#if defined(__SSE2__)
        const __m128i wanted = _mm_set1_epi16(static_cast<short>(tag));
        const auto* words = reinterpret_cast<const __m128i*>(set.tag);
        const __m128i low = _mm_cmpeq_epi16(_mm_load_si128(words), wanted),
                      high = _mm_cmpeq_epi16(_mm_load_si128(words + 1), wanted);
        return static_cast<unsigned>(_mm_movemask_epi8(_mm_packs_epi16(low, high)));
#else
        unsigned hits = 0;
        for (int way = 0; way < kMaxWays; ++way) hits |= static_cast<unsigned>(set.tag[way] == tag) << way;
        return hits;
#endif
    }

    int ways_;
    int last_shift_;
    std::uint64_t used_;  // nibbles of the order that name ways
    Replacement replacement_;
    std::uint64_t random_ = 0x243F6A8885A308D3ULL;
    std::vector<Set> sets_;
};

}  // namespace memwall::chip
