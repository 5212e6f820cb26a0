// What travels: a chunk is a run of consecutive bytes that share one L2 slice and one granule of the address interleave
// (2 KiB on Hopper's map), so that no decision of the memory system can tell its lines apart. A strided access makes
// chunks as small as one sector, a store of single elements smaller ones. Chunks live in one flat pool and are passed
// by index.
#pragma once

#include <cstdint>
#include <vector>

namespace memwall::chip {

inline constexpr std::uint32_t kNone = 0xFFFFFFFF;

enum class Access : std::uint8_t { read, write, reduce };

/// 32 bytes: 50,000 of them are on their way through a busy chip, and each is looked at in four places.
struct alignas(32) Chunk {
    std::uint64_t address : 48;  ///< of the first byte
    std::uint64_t bytes : 16;    ///< useful bytes asked for, all in one granule
    std::uint32_t followers;     ///< chunks that joined it in the coalescer
    std::uint32_t entered;       ///< the room where it is now: ps, modulo 2^32 (4.3 ms, longer than anything waits)
    std::uint16_t cluster;       ///< multicast: the cluster whose CTAs all receive it
    // Where it belongs in its SM: CTA slot, ring and stage (see sm/cta.h), the role that stores it.
    std::uint8_t cta, stage, role;
    std::uint8_t sm;       ///< who asked
    std::uint8_t slice;    ///< slice of the asker's partition that serves it
    std::uint8_t lines;    ///< 128-byte requests that it stands for
    std::uint8_t waiting;  ///< fills that it still waits for in a slice
    std::uint8_t copies;   ///< SMs it is delivered to (multicast)
    std::uint8_t ring : 4;
    std::uint8_t multicast_base : 4;
    std::uint8_t multicast_stride : 4;  ///< ranks base + i * stride
    Access access : 2;
    std::uint8_t policy : 2;  ///< trace::CachePolicy
    bool far : 1;             ///< its home is the other partition
    bool plain : 1;           ///< plain load or store; else by the TMA
    bool replay : 1;          ///< must look up again when its fills are done

    /// Leaves the room where it was for another: the time since it entered, with `at_ps` as the new entry.
    std::uint32_t enter_next(std::int64_t at_ps) {
        const auto now = static_cast<std::uint32_t>(at_ps);
        const std::uint32_t spent = now - entered;
        entered = now;
        return spent;
    }
};
static_assert(sizeof(Chunk) == 32);

/// A flat pool with a free list. References stay valid until the next `take`.
template <class Item>
class Pool {
public:
    /// Room for `reserve` items before the pool moves. Under the address sanitizer it has none, so that a reference
    /// that outlives a `take` is found in the first moves, not in the one run that needs the most chunks.
    explicit Pool(std::size_t reserve) {
#if defined(__SANITIZE_ADDRESS__)
        (void)reserve;
#else
        items_.reserve(reserve);
#endif
    }
    std::uint32_t take() {
        ++in_use_;
        if (!free_.empty()) {
            const std::uint32_t index = free_.back();
            free_.pop_back();
            return index;
        }
        items_.emplace_back();
        return static_cast<std::uint32_t>(items_.size() - 1);
    }
    void give_back(std::uint32_t index) {
        --in_use_;
        free_.push_back(index);
    }
    Item& operator[](std::uint32_t index) {
        return items_[index];
    }
    const Item& operator[](std::uint32_t index) const {
        return items_[index];
    }
    void prefetch(std::uint32_t index) const {
        __builtin_prefetch(&items_[index]);
        if constexpr (sizeof(Item) > 64) __builtin_prefetch(reinterpret_cast<const char*>(&items_[index]) + 64);
    }
    [[nodiscard]] std::size_t in_use() const {
        return in_use_;
    }

private:
    std::vector<Item> items_;
    std::vector<std::uint32_t> free_;
    std::size_t in_use_ = 0;
};

using ChunkPool = Pool<Chunk>;

/// A port, a bus, a pipeline: something that passes one thing after another at a fixed rate. Reserving is all that a
/// queue in front of it does, since it serves in order of arrival.
struct Server {
    double free_ps = 0;

    /// Passes work of `duration_ps` that arrives at `at_ps`; returns when it begins.
    double reserve(double at_ps, double duration_ps) {
        const double begin = at_ps > free_ps ? at_ps : free_ps;
        free_ps = begin + duration_ps;
        return begin;
    }
};

}  // namespace memwall::chip
