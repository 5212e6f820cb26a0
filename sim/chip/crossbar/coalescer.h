// Joins read requests of the SMs of one CPC: a request for bytes that another SM of the CPC already waits for does not
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
    explicit Coalescer(int entries) : entries_(entries > 0 ? std::bit_ceil(static_cast<unsigned>(entries)) : 0U) {}

    /// The leader that `chunk` can join, or kNone: then it becomes one.
    std::uint32_t find_or_lead(const ChunkPool& chunks, std::uint32_t index) {
        if (entries_.empty()) return kNone;
        const Chunk& chunk = chunks[index];
        const std::uint64_t hash = hash_of(chunk);
        Entry& entry = entries_[slot(hash)];
        const auto tag = static_cast<std::uint32_t>(hash);
        if (entry.leader != kNone && entry.tag == tag) {
            const Chunk& leader = chunks[entry.leader];
            if (leader.address == chunk.address && leader.bytes == chunk.bytes) return entry.leader;
        }
        entry = {index, tag};
        return kNone;
    }
    void forget(const ChunkPool& chunks, std::uint32_t index) {
        if (entries_.empty()) return;
        Entry& entry = entries_[slot(hash_of(chunks[index]))];
        if (entry.leader == index) entry.leader = kNone;
    }

private:
    struct Entry {
        std::uint32_t leader = kNone;
        std::uint32_t tag = 0;  ///< so that a comparison rarely touches the leader itself
    };
    static std::uint64_t hash_of(const Chunk& chunk) { return (chunk.address >> 7) * 0x9E3779B97F4A7C15ULL; }
    [[nodiscard]] std::size_t slot(std::uint64_t hash) const {
        return static_cast<std::size_t>(hash >> 40) & (entries_.size() - 1);
    }

    std::vector<Entry> entries_;
};

}  // namespace memwall::chip
