// Joins read requests of the SMs of one GPC: a request for bytes that another SM of the GPC already waits for does not
// travel; it is answered by the same response. Direct-mapped by address; an entry lives as long as its leader is away.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

#include "chip/chunk.h"

namespace memwall::chip {

class Coalescer {
public:
    /// `entries` 0 turns it off; else it is rounded up to a power of two.
    explicit Coalescer(int entries) : leaders_(entries > 0 ? std::bit_ceil(static_cast<unsigned>(entries)) : 0U, kNone) {}

    /// The leader that `chunk` can join, or kNone: then it becomes one.
    std::uint32_t find_or_lead(const ChunkPool& chunks, std::uint32_t chunk) {
        if (leaders_.empty()) return kNone;
        std::uint32_t& leader = leaders_[slot(chunks[chunk].address)];
        if (leader != kNone && chunks[leader].address == chunks[chunk].address &&
            chunks[leader].sectors == chunks[chunk].sectors) {
            return leader;
        }
        leader = chunk;
        return kNone;
    }
    void forget(const ChunkPool& chunks, std::uint32_t chunk) {
        if (leaders_.empty()) return;
        std::uint32_t& leader = leaders_[slot(chunks[chunk].address)];
        if (leader == chunk) leader = kNone;
    }

private:
    [[nodiscard]] std::size_t slot(std::uint64_t address) const {
        return static_cast<std::size_t>((address >> 7) * 0x9E3779B97F4A7C15ULL >> 40) & (leaders_.size() - 1);
    }

    std::vector<std::uint32_t> leaders_;
};

}  // namespace memwall::chip
